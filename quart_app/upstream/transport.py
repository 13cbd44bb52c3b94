"""The way httpx's requests take: one connection each, to an address that policy allows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import httpx

from quart_app.upstream.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from quart_app.upstream.connecting import Connector

__all__ = ["Transport"]


class Transport(httpx.AsyncBaseTransport):
    """HTTP/1.1 for httpx where its own transport falls short.

    httpcore reads an answer only once the request is sent, looks names up apart from what checks
    them, and copies each byte several times. Here every request has a connection of its own, as
    one that was kept could be closed under a body that cannot be sent twice; and no number of
    requests ever waits for another.

    Args:
        connector: Opens the connections.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and give the answer; its stream holds the connection.

        Raises:
            BadUrl: The URL, which may come from a redirect, is none of the web.
            BlockedAddress: Policy speaks against where it leads.
            Exception: As `Connector.connect` and `Exchange.start` do.
        """
        url = request.url
        host = url.raw_host.decode("ascii")
        endpoint = self._connector.policy.admit(url.scheme, url.userinfo, host, url.port)
        wire = await self._connector.connect(endpoint, tls=url.scheme == "https")
        exchange = Exchange(wire)
        try:
            head = h11.Request(
                method=request.method, target=url.raw_path, headers=request.headers.raw
            )
            framed = {"content-length", "transfer-encoding"} & set(request.headers)
            body = request.stream if framed else None
            assert body is None or isinstance(body, httpx.AsyncByteStream)
            answer = await exchange.start(head, body)
        except BaseException:
            await exchange.close()
            raise
        return httpx.Response(
            answer.status_code, headers=answer.headers.raw_items(), stream=_Answer(exchange)
        )


class _Answer(httpx.AsyncByteStream):
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._exchange.chunks()

    async def aclose(self) -> None:
        await self._exchange.close()
