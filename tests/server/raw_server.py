"""The bare application on stock Hypercorn, on this project's layer, and under its launcher.

python -m tests.server.raw_server stock|ours uvloop|asyncio
python -m tests.server.raw_server launcher WORKERS uvloop|asyncio
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import hypercorn.asyncio
import uvloop
from hypercorn.config import Config

from quart_app.logs import configure_logs
from quart_app.server import websocket
from quart_app.server.launcher import Launcher
from quart_app.server.pulse import READY
from quart_app.server.seams import fix_hypercorn
from quart_app.server.sockets import Inheritance
from quart_app.server.worker import serve
from quart_app.settings import load_settings
from tests.server.raw_app import app

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework
    from quart import Quart

#: Variable with seconds after which the launcher hears that a worker accepts connections.
HEARD_AFTER = "TEST_HEARD_AFTER"

#: Requests that a connection takes.
KEEP_ALIVE_MAX_REQUESTS = 1300
#: Time within which a WebSocket handshake is over.
HANDSHAKE_SECONDS = 1.0

WORKER = (sys.executable, "-m", "tests.server.raw_server", "worker")


def main() -> None:
    kind, *arguments = sys.argv[1:]
    configure_logs("info", "json")
    if kind == "launcher":
        workers, loop = arguments
        settings = load_settings({"workers": workers, "port": "0"}).settings
        environment = os.environ | {"QUART_APP_WORKERS": workers, "QUART_APP_LOOP": loop}
        sys.exit(asyncio.run(Launcher(settings, WORKER, environment).run()))
    if kind == "worker":
        inheritance = Inheritance.load()
        if HEARD_AFTER in os.environ:
            inheritance = _heard_after(float(os.environ[HEARD_AFTER]), inheritance)
        serve(cast("Quart", app), load_settings().settings, inheritance, lambda: None)
        return
    if kind == "ours":
        fix_hypercorn()
        websocket.HANDSHAKE_SECONDS = HANDSHAKE_SECONDS
    factory = uvloop.new_event_loop if arguments == ["uvloop"] else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve())


def _heard_after(seconds: float, inheritance: Inheritance) -> Inheritance:
    """Passes on what a worker writes, but not at once that it is ready."""
    end, ready = os.pipe()

    def pass_on() -> None:
        while said := os.read(end, 1):
            if said == READY:
                time.sleep(seconds)
            os.write(inheritance.pulse, said)

    threading.Thread(target=pass_on, daemon=True).start()
    return replace(inheritance, pulse=ready)


async def _serve() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    config.read_timeout = 1
    config.keep_alive_max_requests = KEEP_ALIVE_MAX_REQUESTS
    await hypercorn.asyncio.serve(cast("ASGIFramework", app), config, shutdown_trigger=stop.wait)


if __name__ == "__main__":
    main()
