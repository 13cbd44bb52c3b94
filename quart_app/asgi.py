"""The application for any launcher: `hypercorn quart_app.asgi:app`."""

from quart_app.app import create_app
from quart_app.logs import configure_logs
from quart_app.server.seams import fix_hypercorn
from quart_app.settings import load_settings

__all__ = ["app"]

settings = load_settings().settings
configure_logs(settings.log_level, settings.log_format)
fix_hypercorn(half_closed_timeout=settings.stall_timeout)
app = create_app(settings)
