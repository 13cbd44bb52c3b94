"""Listening sockets: of our own, one a worker; from systemd or at a path, shared by all."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart_app.server.inheritance import BACKLOG, CannotStart

if TYPE_CHECKING:
    from pathlib import Path

    from quart_app.settings import Settings

__all__ = ["Listeners", "listen"]

#: First descriptor that systemd hands over (sd_listen_fds(3)).
FIRST_INHERITED = 3


@dataclass(frozen=True, slots=True)
class Listeners:
    """Open listening sockets.

    Attributes:
        address: What people connect to.
        by_worker: The sockets of each worker.
    """

    address: str
    by_worker: list[list[socket.socket]]

    def close(self) -> None:
        """Stop listening, as far as this process goes."""
        for listeners in self.by_worker:
            for listener in listeners:
                listener.close()


def listen(settings: Settings) -> Listeners:
    """Open the sockets that settings and environment ask for.

    A socket stays open here while its worker is replaced, so connections wait instead of being
    refused.

    Raises:
        CannotStart: An address cannot be had.
    """
    scheme = "https" if settings.certfile else "http"
    if inherited := _inherited():
        return Listeners(_named(scheme, inherited[0]), [inherited] * settings.workers)
    try:
        if settings.unix_socket is not None:
            shared = [_at_path(settings.unix_socket)]
            return Listeners(f"unix:{settings.unix_socket}", [shared] * settings.workers)
        by_worker = _at_port(settings.host, settings.port, settings.workers)
    except OSError as error:
        where = settings.unix_socket or f"{settings.host} port {settings.port}"
        raise CannotStart(f"cannot listen on {where}: {os.strerror(error.errno or 0)}") from error
    return Listeners(_named(scheme, by_worker[0][0]), by_worker)


def _inherited() -> list[socket.socket]:
    """Take the sockets of systemd's socket activation, if this process is the one meant."""
    count = os.environ.pop("LISTEN_FDS", "0")
    if os.environ.pop("LISTEN_PID", "") != str(os.getpid()):
        return []
    return [socket.socket(fileno=FIRST_INHERITED + number) for number in range(int(count))]


def _at_path(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()  # what a killed predecessor left
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(BACKLOG)
    return listener


def _at_port(host: str, port: int, workers: int) -> list[list[socket.socket]]:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    by_worker: list[list[socket.socket]] = []
    for _ in range(workers):
        listener = socket.create_server(
            (host, port), family=family, backlog=BACKLOG, reuse_port=workers > 1
        )
        port = listener.getsockname()[1]  # the one picked, for the others
        by_worker.append([listener])
    return by_worker


def _named(scheme: str, listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
