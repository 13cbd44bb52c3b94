"""The real command, whose workers are those of `tests.e2e.instrumented_worker`."""

from __future__ import annotations

import sys

from quart_app import cli

if __name__ == "__main__":
    cli.__dict__["WORKER_COMMAND"] = (sys.executable, "-m", "tests.e2e.instrumented_worker")
    cli.main()
