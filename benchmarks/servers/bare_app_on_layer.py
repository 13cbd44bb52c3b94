"""The bare application for a Hypercorn that is made to use our server layer."""

from benchmarks.servers.bare_app import app
from quart_app.server.seams import fix_hypercorn

__all__ = ["app"]

fix_hypercorn()
