"""Hypercorn, made to serve big transfers."""

from quart_app.server.seams import fix_hypercorn
from quart_app.server.run import CannotStart, serve

__all__ = ["CannotStart", "fix_hypercorn", "serve"]
