"""One server process: its socket, its loop, its signals and its end."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from typing import TYPE_CHECKING

import hypercorn.asyncio
import uvloop
from hypercorn.config import Config
from hypercorn.utils import LifespanFailureError

from quart_app.server.connection import Connection
from quart_app.server.seams import fix_hypercorn

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart import Quart

    from quart_app.settings import Settings

__all__ = ["CannotStart", "serve"]

BACKLOG = 1024

MOST_DESCRIPTORS = 65_536

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class CannotStart(Exception):
    """The service cannot start; the text says why, for the operator."""


def serve(app: Quart, settings: Settings, on_stop: Callable[[], None]) -> None:
    """Serve an application until SIGTERM or SIGINT, then let transfers end.

    Args:
        app: The application.
        settings: Where to listen and how long to drain.
        on_stop: Called once when stopping begins.

    Raises:
        CannotStart: The address cannot be had, or the application did not start.
    """
    fix_hypercorn()
    _raise_descriptor_limit()
    listener = _listening(settings.host, settings.port)
    announcement = _announced(listener)
    config = _config(listener.detach(), settings)  # Hypercorn closes it
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(app, config, announcement, settings.drain, on_stop))
    except LifespanFailureError as error:
        raise CannotStart(str(error)) from error


async def _serve(
    app: Quart, config: Config, announcement: str, drain: float, on_stop: Callable[[], None]
) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    async def until_stopped() -> None:
        # Hypercorn calls this once it accepts connections.
        print(announcement, flush=True)  # noqa: T201
        await stop.wait()
        on_stop()
        # Hypercorn's own timeout is not looked at on uvloop, nor from Python 3.12.1 on.
        loop.call_later(drain, Connection.cancel_all)

    def begin_stop() -> None:
        stop.set()
        for number in STOP_SIGNALS:  # a second one ends the process as it stands
            loop.remove_signal_handler(number)

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, begin_stop)
    await hypercorn.asyncio.serve(app, config, shutdown_trigger=until_stopped)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotStart(f"cannot listen on {host} port {port}: {error.strerror}") from error


def _announced(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"serving on http://{f'[{host}]' if ':' in host else host}:{port}"


def _config(listener: int, settings: Settings) -> Config:
    config = Config()
    config.bind = [f"fd://{listener}"]
    config.backlog = BACKLOG
    config.accesslog = None  # the streaming layer logs requests, with their bytes
    config.errorlog = logging.getLogger("hypercorn.error")
    config.graceful_timeout = settings.drain
    config.include_server_header = False
    return config


def _raise_descriptor_limit() -> None:
    # A transfer takes two descriptors, and the usual soft limit is 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
