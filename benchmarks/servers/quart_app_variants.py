"""This service on stock Hypercorn, or on its own layer without zero-copy downloads; on uvloop.

python -m benchmarks.servers.quart_app_variants [--read-ahead]
"""

from __future__ import annotations

import logging
import os
import sys

import hypercorn.asyncio
import uvloop
from hypercorn.config import Config

from quart_app.app import create_app
from quart_app.logs import configure_logs
from quart_app.server import stream
from quart_app.server.seams import fix_hypercorn
from quart_app.server.sockets import BACKLOG
from quart_app.settings import load_settings

if __name__ == "__main__":
    settings = load_settings({"data": os.environ["BENCHMARK_DATA"]}).settings
    configure_logs(settings.log_level, settings.log_format)
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.backlog = BACKLOG
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn.error")
    if "--read-ahead" in sys.argv[1:]:
        fix_hypercorn()
        vars(stream)["CAN_SEND_FILES"] = False
    uvloop.run(hypercorn.asyncio.serve(create_app(settings), config))
