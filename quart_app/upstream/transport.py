"""Transport for httpx on idle or new connections to addresses that the policy allows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import h11
import httpx

from quart_app.upstream.exchange import Exchange
from quart_app.upstream.pool import Pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from quart_app.upstream.connecting import Connector
    from quart_app.upstream.pool import Destination
    from quart_app.upstream.wire import Wire

__all__ = ["Transport"]

#: Methods whose requests are repeated on a new connection if an idle connection was closed.
REPEATABLE = {"GET", "HEAD"}

#: `Authorization` schemes that authenticate a connection, which is then not reused (RFC 4559).
BINDING_SCHEMES = {"negotiate", "ntlm"}


class Transport(httpx.AsyncBaseTransport):
    """An HTTP/1.1 transport for httpx that replaces httpcore.

    httpcore reads the response only after it has sent the request, does not allow a check of the
    resolved addresses, and copies each byte several times. In this transport, requests never wait
    for each other: if no connection is idle, a new connection is opened.

    Args:
        connector: Opens the connections.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._pool = Pool()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return the response, whose stream owns the connection.

        Raises:
            BadUrl: The URL, or the URL of a redirect, is not supported.
            BlockedAddress: The policy rejects the address.
            Exception: As `Connector.connect` and `Exchange.start` do.
        """
        url, tls = request.url, request.url.scheme == "https"
        host = url.raw_host.decode("ascii")
        endpoint = self._connector.policy.admit(url.scheme, url.userinfo, host, url.port)
        destination = endpoint, tls
        if request.headers.get("authorization", "").partition(" ")[0].lower() in BINDING_SCHEMES:
            request.headers["connection"] = "close"
        body = _body(request)
        once_only = body is not None or request.method not in REPEATABLE
        wire = self._pool.take(destination, once_only=once_only)
        if wire is not None:
            try:
                return await self._exchange(wire, destination, request, body)
            except (ConnectionError, h11.RemoteProtocolError):
                if wire.heard or once_only:
                    raise
        wire = await self._connector.connect(endpoint, tls=tls)
        return await self._exchange(wire, destination, request, body)

    async def _exchange(
        self,
        wire: Wire,
        destination: Destination,
        request: httpx.Request,
        body: AsyncIterable[bytes] | None,
    ) -> httpx.Response:
        exchange = Exchange(wire, partial(self._pool.give, destination))
        try:
            head = h11.Request(
                method=request.method, target=request.url.raw_path, headers=request.headers.raw
            )
            answer = await exchange.start(head, body)
        except BaseException:
            await exchange.close()
            raise
        return _Response(
            answer.status_code, headers=answer.headers.raw_items(), stream=_Answer(exchange)
        )

    async def aclose(self) -> None:
        """Close the idle connections."""
        self._pool.close()


def _body(request: httpx.Request) -> AsyncIterable[bytes] | None:
    framed = {"content-length", "transfer-encoding"} & set(request.headers)
    assert isinstance(request.stream, httpx.AsyncByteStream)
    return request.stream if framed else None


class _Response(httpx.Response):
    """A response whose redirect httpx leaves alone; it would fail on a `Location` of any form."""

    @property
    def has_redirect_location(self) -> bool:
        return False


class _Answer(httpx.AsyncByteStream):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._exchange.chunks()

    async def aclose(self) -> None:
        await self._exchange.close()
