"""HTTP requests to origins and destinations on behalf of a client."""

from quart_app.upstream.client import Answer, Client
from quart_app.upstream.connecting import Connector, resolve, tls_context

__all__ = ["Answer", "Client", "Connector", "resolve", "tls_context"]
