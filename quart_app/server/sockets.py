"""Listening sockets: of our own, one a worker and address; from systemd or at a path, shared."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from quart_app.errors import CannotStart

if TYPE_CHECKING:
    from pathlib import Path

    from quart_app.settings import Settings

__all__ = ["BACKLOG", "Inheritance", "Listeners", "listen"]

#: Connections that may wait to be accepted, on each socket.
BACKLOG = 1024

#: Family of a socket and an address for it, as `socket.getaddrinfo` has them.
Address: TypeAlias = "tuple[socket.AddressFamily, tuple[Any, ...]]"

#: A name has addresses of a family that this machine does without, as where IPv6 is turned off.
ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}

#: Ports that are tried before it is an error that none of them is free on every address.
MAX_PORTS = 16

#: First descriptor that systemd hands over (sd_listen_fds(3)).
SD_LISTEN_FDS_START = 3


@dataclass(frozen=True, slots=True)
class Listeners:
    """Open listening sockets.

    Attributes:
        address: What people connect to.
        by_worker: The sockets of each worker.
        path: Where a socket of our own lies, if at a path.
    """

    address: str
    by_worker: list[list[socket.socket]]
    path: Path | None = None

    def close(self) -> None:
        """Stop listening, as far as this process goes."""
        for listeners in self.by_worker:
            for listener in listeners:
                listener.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Descriptors that a launcher gives its worker.

    Attributes:
        listeners: Listening sockets.
        pulse: Pipe to write to once connections are accepted, and while the loop turns.
        lifeline: Pipe that ends when the launcher does, however it does.
    """

    listeners: tuple[int, ...]
    pulse: int
    lifeline: int

    VARIABLE: ClassVar = "QUART_APP_INHERITANCE"

    def dump(self) -> str:
        """Write it down for the environment of the worker."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls) -> Inheritance:
        """Read it from the environment, and take it out of there."""
        members = json.loads(os.environ.pop(cls.VARIABLE))
        return cls(tuple(members["listeners"]), members["pulse"], members["lifeline"])

    def addresses(self) -> list[str]:
        """Return the addresses of the listening sockets, without those at paths."""
        found = []
        for descriptor in self.listeners:
            listener = socket.socket(fileno=descriptor)
            if listener.family != socket.AF_UNIX:
                found.append(listener.getsockname()[0])
            listener.detach()
        return found


def listen(settings: Settings) -> Listeners:
    """Open the sockets that settings and environment ask for.

    A socket stays open here while its worker is replaced, so connections wait instead of being
    refused.

    Raises:
        CannotStart: An address cannot be had.
    """
    scheme = "https" if settings.certfile else "http"
    if activated := _activated():
        return Listeners(_named(scheme, activated[0]), [activated] * settings.workers)
    try:
        if settings.unix_socket is not None:
            shared = [_at_path(settings.unix_socket)]
            address = f"unix:{settings.unix_socket}"
            return Listeners(address, [shared] * settings.workers, settings.unix_socket)
        by_worker = _at_port(settings.host, settings.port, settings.workers)
    except OSError as error:
        where = settings.unix_socket or f"{settings.host} port {settings.port}"
        why = os.strerror(error.errno) if error.errno else error
        raise CannotStart(f"cannot listen on {where}: {why}") from error
    return Listeners(_named(scheme, by_worker[0][0]), by_worker)


def _activated() -> list[socket.socket]:
    """Take the sockets of systemd's socket activation, if this process is the one meant."""
    count = os.environ.pop("LISTEN_FDS", "0")
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    try:
        return [socket.socket(fileno=SD_LISTEN_FDS_START + number) for number in range(int(count))]
    except (OSError, ValueError) as error:
        raise CannotStart(f"LISTEN_FDS={count} does not count sockets: {error}") from error


def _at_path(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        path.unlink()  # what a killed predecessor left
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(BACKLOG)
    return listener


def _at_port(host: str, port: int, workers: int) -> list[list[socket.socket]]:
    """Listen on every address that a host has, on one port, with sockets for each worker."""
    port, addresses = _free(_addresses(host), port)
    return [
        [
            socket.create_server(
                (address[0], port, *address[2:]),
                family=family,
                backlog=BACKLOG,
                reuse_port=workers > 1,
            )
            for family, address in addresses
        ]
        for _ in range(workers)
    ]


def _addresses(host: str) -> list[Address]:
    found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _free(addresses: list[Address], port: int) -> tuple[int, list[Address]]:
    """Find a port that is free on all addresses; port 0 is tried again where it is not.

    Returns:
        The port, and those of the addresses that this machine has.
    """
    for _ in range(MAX_PORTS if port == 0 else 1):
        try:
            return _probe(addresses, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            taken = error
    raise taken


def _probe(addresses: list[Address], port: int) -> tuple[int, list[Address]]:
    # Without SO_REUSEPORT: to share the port of another program would be no error for either.
    with ExitStack() as probes:
        bound: list[Address] = []
        for family, address in addresses:
            try:
                probe = socket.create_server((address[0], port, *address[2:]), family=family)
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
                absent = error
                continue
            port = probes.enter_context(probe).getsockname()[1]
            bound.append((family, address))
        if not bound:
            raise absent
    return port, bound


def _named(scheme: str, listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
