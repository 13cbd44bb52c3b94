"""One worker process: the loop, the sockets it was given, and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import hypercorn.asyncio
import uvloop
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError

from quart_app.errors import CannotStart
from quart_app.server.accepting import Acceptor
from quart_app.server.connection import Connection
from quart_app.server.memory import return_memory
from quart_app.server.pulse import READY, beat, beat_interval
from quart_app.server.seams import fix_hypercorn
from quart_app.server.sockets import BACKLOG

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from quart import Quart

    from quart_app.server.sockets import Inheritance
    from quart_app.settings import Settings

__all__ = ["serve"]

#: A transfer takes two descriptors, and the usual soft limit is 1,024.
MOST_DESCRIPTORS = 65_536

#: How long an accepted connection may take to become one of Hypercorn's.
SETTLING_SECONDS = 0.1

#: The same for one with TLS.
HANDSHAKE_SECONDS = 1.0

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(
    app: Quart, settings: Settings, inheritance: Inheritance, on_stop: Callable[[], None]
) -> None:
    """Serve an application until SIGTERM or SIGINT, then let transfers end.

    Args:
        app: The application.
        settings: How to serve, and how long to drain.
        inheritance: The descriptors of the launcher.
        on_stop: Called once when stopping begins.

    Raises:
        CannotStart: The application did not start.
    """
    # Uploads of half-closed clients may wait for a slow disk.
    fix_hypercorn(half_closed_timeout=settings.stall_timeout)
    _raise_descriptor_limit()
    factory = uvloop.new_event_loop if settings.loop == "uvloop" else None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(app, settings, inheritance, on_stop))
    except LifespanFailureError as error:
        raise CannotStart(str(error)) from error
    finally:
        os.close(inheritance.pulse)  # a loop that has ended beats no more


async def _serve(
    app: Quart, settings: Settings, inheritance: Inheritance, on_stop: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    servers = _replace_servers(loop)

    async def until_stopped() -> None:
        # Hypercorn calls this once it accepts connections.
        os.write(inheritance.pulse, READY)
        await stop.wait()
        on_stop()
        # Hypercorn's own timeout is not looked at on uvloop, nor from Python 3.12.1 on.
        loop.call_later(settings.drain, Connection.cancel_all)
        for server in servers:
            server.close()
        # Hypercorn waits for those connections only that it knows by now.
        await asyncio.sleep(HANDSHAKE_SECONDS if settings.certfile else SETTLING_SECONDS)

    def told(*_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: it has stopped
            loop.call_soon_threadsafe(stop.set)

    # Not `add_signal_handler`: asyncio loses a signal that comes while threads wake its loop by the
    # hundred, as both go through one pipe that takes no more than some 300.
    for number in STOP_SIGNALS:
        signal.signal(number, told)
    # Who kills the launcher means the service: no worker may serve on by itself.
    loop.add_reader(inheritance.lifeline, os.kill, os.getpid(), signal.SIGKILL)
    beat(inheritance.pulse, beat_interval(settings.worker_timeout))
    trimming = asyncio.create_task(return_memory())
    config = _config(settings, inheritance.listeners)
    await hypercorn.asyncio.serve(app, config, shutdown_trigger=until_stopped)
    trimming.cancel()


def _replace_servers(loop: asyncio.AbstractEventLoop) -> list[Acceptor]:
    """Have a loop make servers of ours, and return the list of those it has made."""
    servers: list[Acceptor] = []

    async def create_server(
        factory: Callable[[], asyncio.BaseProtocol],
        *_: Any,
        sock: socket.socket,
        backlog: int,
        **options: Any,
    ) -> Acceptor:
        sock.listen(backlog)
        servers.append(Acceptor(sock, factory, options))
        return servers[-1]

    loop.create_server = create_server  # type: ignore[assignment, method-assign]
    return servers


def _config(settings: Settings, listeners: tuple[int, ...]) -> Config:
    config = Config()
    config.bind = [f"fd://{listener}" for listener in listeners]
    config.backlog = BACKLOG
    config.accesslog = None  # the streaming layer logs requests, with their bytes
    config.errorlog = logging.getLogger("hypercorn.error")
    config.graceful_timeout = settings.drain
    config.include_server_header = False
    config.certfile = str(settings.certfile) if settings.certfile else None
    config.keyfile = str(settings.keyfile) if settings.keyfile else None
    try:
        config.create_ssl_context()
    except OSError as error:
        raise CannotStart(f"cannot use certificate and key: {error.strerror or error}") from error
    return config


def _raise_descriptor_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
