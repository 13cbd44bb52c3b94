"""What each worker of `quart-app serve` runs."""

from __future__ import annotations

import signal
import sys

from quart_app.app import create_app, start_draining
from quart_app.errors import CannotStart
from quart_app.logs import configure_logs
from quart_app.server.sockets import Inheritance
from quart_app.server.worker import serve
from quart_app.settings import BadSettings, load_settings

__all__ = ["main"]


def main() -> None:
    """Serve on the sockets of the launcher, with the settings in the environment."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # for the launcher, though all may be sent it
    inheritance = Inheritance.load()
    try:
        settings = load_settings().settings
        configure_logs(settings.log_level, settings.log_format)
        app = create_app(settings, inheritance.addresses())
        serve(app, settings, inheritance, on_stop=lambda: start_draining(app))
    except (BadSettings, CannotStart) as error:
        sys.exit(f"quart-app: {error}")


if __name__ == "__main__":
    main()
