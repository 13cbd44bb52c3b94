"""This service on stock Hypercorn and uvloop: what there was before the server layer."""

from __future__ import annotations

import logging
import os

import hypercorn.asyncio
import uvloop
from hypercorn.config import Config

from quart_app.app import create_app
from quart_app.logs import configure_logs
from quart_app.server.inheritance import BACKLOG
from quart_app.settings import load_settings

if __name__ == "__main__":
    settings = load_settings({"data": os.environ["BENCHMARK_DATA"]}).settings
    configure_logs(settings.log_level, settings.log_format)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.backlog = BACKLOG
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    uvloop.run(hypercorn.asyncio.serve(create_app(settings), config))
