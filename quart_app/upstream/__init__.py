"""Other servers, asked on a client's behalf."""

from quart_app.upstream.client import Answer, Client
from quart_app.upstream.connecting import Connector, resolve, tls_context

__all__ = ["Answer", "Client", "Connector", "resolve", "tls_context"]
