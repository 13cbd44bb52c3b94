"""The HTTP client of the service, which translates upstream failures into errors of quart-app."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import h11
import httpx

from quart_app.errors import BadUrl, QuartAppError, UpstreamFailed, UpstreamTimeout
from quart_app.protocol.addresses import canonical_url
from quart_app.upstream.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator

    from quart_app.protocol.forwarding import Fields
    from quart_app.upstream.connecting import Connector

__all__ = ["Answer", "Client"]

#: Maximum number of redirects that are followed. Browsers follow 20.
MAX_REDIRECTS = 10

#: Statuses of a redirect (RFC 9110, 15.4).
REDIRECTS = {301, 302, 303, 307, 308}

#: Library errors and the corresponding errors of quart-app. The first match applies.
TRANSLATIONS: tuple[tuple[type[Exception], type[QuartAppError]], ...] = (
    (httpx.InvalidURL, BadUrl),
    (UnicodeError, BadUrl),
    (TimeoutError, UpstreamTimeout),
    (OSError, UpstreamFailed),  # names, connections, TLS
    (h11.RemoteProtocolError, UpstreamFailed),
    (h11.LocalProtocolError, UpstreamFailed),
    (httpx.HTTPError, UpstreamFailed),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of another server.

    Attributes:
        url: Where it came from, all redirects followed.
        status: HTTP status.
        fields: Header fields as they came.
        chunks: The body as it is coded, read once. Raises `UpstreamFailed` when it is cut,
            `UpstreamTimeout` when nothing comes for too long.
    """

    url: str
    status: int
    fields: Fields
    chunks: AsyncGenerator[bytes]

    def passing_on(self, fields: Fields) -> Answer:
        """Return a copy of this response with other header fields."""
        return replace(self, fields=fields)


class Client:
    """Sends requests to other servers, without proxies, passwords or cookies of the environment.

    Args:
        connector: Opens the connections and applies the address policy.
    """

    def __init__(self, connector: Connector) -> None:
        self._policy = connector.policy
        self._client = httpx.AsyncClient(
            transport=Transport(connector),
            trust_env=False,
            timeout=None,  # the connector's hold  # noqa: S113
            headers={"User-Agent": "quart-app"},
            # What one client's server sets would be sent along with another client's request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def close(self) -> None:
        """Close the client and its idle connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        fields: Fields,
        body: AsyncIterable[bytes] | None = None,
        *,
        follow_redirects: bool = False,
    ) -> AsyncIterator[Answer]:
        """Send a request, and yield the response when its head has arrived.

        Args:
            method: HTTP method.
            url: Absolute URL.
            fields: Header fields; `Content-Length` tells that of `body`, which is else chunked.
            body: Request body, sent with backpressure. Its errors are passed on.
            follow_redirects: Whether to follow; each is checked as the first URL was.

        Raises:
            BadUrl: The URL is malformed or not supported.
            BlockedAddress: Policy refuses the address of the URL or of a redirect.
            UpstreamFailed: The server cannot be reached, its response is malformed, or a redirect
                is malformed, not supported, or one too many.
            UpstreamTimeout: The server makes no progress for too long.
        """
        with _translated():
            response = await self._send(method, url, fields, body, follow_redirects)
        try:
            yield Answer(
                str(response.url), response.status_code, _fields(response), _chunks(response)
            )
        finally:
            await response.aclose()

    async def _send(
        self,
        method: str,
        url: str,
        fields: Fields,
        body: AsyncIterable[bytes] | None,
        follow_redirects: bool,
    ) -> httpx.Response:
        request = self._request(method, url, fields, body)
        response = await self._client.send(request, stream=True)
        followed = 0
        while follow_redirects and (place := _redirect(response)) is not None:
            # httpx would read the redirect's body into memory, whatever its size.
            await response.aclose()
            followed += 1
            if followed > MAX_REDIRECTS:
                raise UpstreamFailed("There are too many redirects.")
            response = await self._redirected(method, str(response.url), place, fields)
        return response

    def _request(
        self, method: str, url: str, fields: Fields, body: AsyncIterable[bytes] | None = None
    ) -> httpx.Request:
        chosen = url if self._policy.everything else canonical_url(url)
        request = self._client.build_request(method, httpx.URL(chosen), content=body)
        request.headers = _headers(request, fields)
        return request

    async def _redirected(
        self, method: str, url: str, place: str, fields: Fields
    ) -> httpx.Response:
        try:
            # `urljoin` would complete a URL without a host (RFC 3986, 5.2.2).
            target = place if urlsplit(place).scheme else urljoin(url, place)
            with _translated():
                request = self._request(method, target, fields)
                return await self._client.send(request, stream=True)
        except (BadUrl, ValueError) as error:  # the other server's fault, not the client's
            raise UpstreamFailed("A redirect leads to a URL that is not supported.") from error


def _redirect(response: httpx.Response) -> str | None:
    return response.headers.get("location") if response.status_code in REDIRECTS else None


def _headers(request: httpx.Request, fields: Fields) -> httpx.Headers:
    """Replace default header fields with all lines of the caller's fields of the same name."""
    named = {name.lower() for name, _ in fields}
    if "content-length" in named:
        named.add("transfer-encoding")
    made = [(name, value) for name, value in request.headers.raw if _key(name) not in named]
    return httpx.Headers([*made, *((_raw(name), _raw(value)) for name, value in fields)])


def _key(name: bytes) -> str:
    return name.decode("ascii").lower()


def _raw(field: str) -> bytes:
    return field.encode("iso-8859-1")


def _fields(response: httpx.Response) -> Fields:
    return [(_text(name), _text(value)) for name, value in response.headers.raw]


def _text(field: bytes) -> str:
    try:
        return field.decode()
    except UnicodeDecodeError:
        return field.decode("iso-8859-1")


async def _chunks(response: httpx.Response) -> AsyncGenerator[bytes]:
    with _translated():
        async for chunk in response.aiter_raw():
            yield chunk


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except QuartAppError:
        raise
    except Exception as error:
        ours = next((ours for theirs, ours in TRANSLATIONS if isinstance(error, theirs)), None)
        if ours is None:
            raise
        raise ours from error
