"""Bytes of other servers on to the client, and the client's on to another server."""

from __future__ import annotations

import json
import math
import re
import socket
import ssl
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import httpx
from flask import Blueprint, Response, request
from werkzeug.routing import PathConverter

from benchmarks.servers.flask_app.bodies import (
    HARMLESS,
    UNSANDBOXED,
    body,
    checked_form,
    is_form,
)
from benchmarks.servers.flask_app.representation import file_json
from benchmarks.servers.flask_app.settings import ALLOW_FETCH, PROXY_TARGETS, STALL_TIMEOUT
from benchmarks.servers.flask_app.storage import Upload, admit, store
from benchmarks.servers.flask_app.uploads import lifetime
from quart_app.errors import BadRequest, BadUrl, NoTarget, UpstreamFailed, UpstreamTimeout
from quart_app.models import KIB
from quart_app.protocol.addresses import AddressPolicy, canonical_url, parse_exception
from quart_app.protocol.forwarding import (
    answer_of_origin,
    answer_of_target,
    request_to_origin,
    request_to_target,
)
from quart_app.protocol.headers import is_coded
from quart_app.protocol.names import (
    display_name,
    inline_safe,
    parse_disposition_name,
    stated_media_type,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_app.protocol.forwarding import Fields

relaying = Blueprint("relaying", __name__)

MOST_REDIRECTS = 10
#: Largest JSON of a request to fetch.
MAX_REQUEST_SIZE = 64 * KIB

#: The scheme of a URL, whose second slash many a server in front takes for one too many.
SCHEME = re.compile(r"/*([a-z][a-z0-9+.-]*):/{1,2}(?=[^/])", re.IGNORECASE)

POLICY = AddressPolicy(frozenset(map(parse_exception, ALLOW_FETCH)))


class RemoteUrl(PathConverter):
    """What begins like a URL, in the place of a path."""

    regex = r"(?is:[a-z][a-z0-9+.\-]*:/.+)"


class Guarded(httpx.HTTPTransport):
    """Connects to the very address that policy has allowed, on every redirect anew."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        return super().handle_request(
            httpx.Request(
                request.method,
                url.copy_with(host=_allowed_address(url)),
                headers=request.headers,  # `Host` among them
                stream=request.stream,
                extensions=request.extensions | {"sni_hostname": url.host},
            )
        )


def _allowed_address(url: httpx.URL) -> str:
    endpoint = POLICY.admit(url.scheme, url.userinfo, url.host, url.port)
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UpstreamFailed("The other server cannot be found.") from error
    addresses = [str(each[4][0]) for each in found]
    for address in addresses:
        POLICY.check(endpoint, ip_address(address))
    return addresses[0]


TLS = ssl.create_default_context()
REMOTE = httpx.Client(
    transport=Guarded(verify=TLS),
    timeout=STALL_TIMEOUT,
    follow_redirects=True,
    max_redirects=MOST_REDIRECTS,
    trust_env=False,
)
TARGETS = httpx.Client(verify=TLS, timeout=STALL_TIMEOUT, trust_env=False)


@relaying.get("/<remote:url>")
def relay(url: str) -> Response:  # noqa: ARG001  # has lost its percent-encoding
    asked = request_to_origin(list(request.headers.items()))
    if "Accept-Encoding" not in request.headers:  # or httpx would ask for what it can decode
        asked.append(("Accept-Encoding", "identity"))
    answer = _sent(REMOTE, _request(REMOTE, request.method, canonical_url(_asked_url()), asked))
    safe = inline_safe(answer.headers.get("Content-Type", ""))
    added = (UNSANDBOXED if safe else HARMLESS).items()
    return _streamed(answer, [*answer_of_origin(answer.headers.multi_items()), *added])


def _asked_url() -> str:
    """Give the URL as the client wrote it: decoding its path would make another one of it."""
    path, mark, query = str(request.environ["RAW_URI"]).partition("?")
    if SCHEME.match(path) is None:
        path = unquote(path)  # a client that encodes whatever it puts into a path
    if (scheme := SCHEME.match(path)) is None:
        raise BadUrl("Give an absolute http:// or https:// URL.")
    return f"{scheme[1]}://{path[scheme.end() :]}{mark}{query}"


@relaying.post("/fetch")
def fetch() -> tuple[dict[str, object], int, dict[str, str]]:
    url, name = _wanted()
    # A coding would make others of the file's bytes.
    outgoing = _request(REMOTE, "GET", canonical_url(url), [("Accept-Encoding", "identity")])
    with closing(_sent(REMOTE, outgoing)) as answer:
        if answer.status_code != 200 or is_coded(answer.headers.get("Content-Encoding")):
            raise UpstreamFailed(f"The other server answered {answer.status_code}.")
        length = answer.headers.get("Content-Length", "")
        admit(int(length) if length.isdecimal() else None)
        shown = display_name(name or _name_of(answer))
        kind = stated_media_type(answer.headers.get("Content-Type"))
        [file] = store([Upload(_pieces(answer), shown, kind, lifetime=lifetime())])
    described = file_json(file)
    return described, 201, {"Location": described["url"]}


def _wanted() -> tuple[str, str | None]:
    try:
        wanted = json.loads(b"".join(body(MAX_REQUEST_SIZE)))
    except ValueError as error:
        raise BadRequest("The body is no JSON.") from error
    match wanted:
        case {"url": str(url), "name": str(name)}:
            return url, name
        case {"url": str(url)} if wanted.get("name") is None:
            return url, None
    raise BadRequest('Send {"url": "…"}, and a "name" if you like.')


def _name_of(answer: httpx.Response) -> str:
    told = parse_disposition_name(answer.headers.get("Content-Disposition"))
    return told or unquote(urlsplit(str(answer.url)).path).rstrip("/").rpartition("/")[2]


@relaying.post("/proxy", defaults={"target": None})
@relaying.post("/proxy/<target>")
def proxy(target: str | None) -> Response:
    """Send the body on as it comes, of any size; a form stays the form it is."""
    fields = request_to_target(list(request.headers.items()))
    if request.content_length is not None:  # or it goes in chunks
        fields.append(("Content-Length", str(request.content_length)))
    content = body(math.inf)
    if is_form():
        content = checked_form(content, request.headers["Content-Type"])
    outgoing = _request(TARGETS, "POST", _target_url(target), fields, content)
    answer = _sent(TARGETS, outgoing)
    return _streamed(answer, [*answer_of_target(answer.headers.multi_items()), *HARMLESS.items()])


def _target_url(name: str | None) -> str:
    """Give the URL of a target, by default of the one so called or else the first."""
    name = name or ("default" if "default" in PROXY_TARGETS else next(iter(PROXY_TARGETS), ""))
    if name not in PROXY_TARGETS:
        raise NoTarget
    url, query = PROXY_TARGETS[name], request.query_string.decode()
    return url + ("&" if "?" in url else "?") * bool(query) + query


def _request(
    client: httpx.Client,
    method: str,
    url: str,
    fields: Fields,
    content: Iterator[bytes] | None = None,
) -> httpx.Request:
    try:
        return client.build_request(method, url, headers=fields, content=content)
    except httpx.InvalidURL as error:
        raise BadUrl("Give an absolute http:// or https:// URL.") from error


def _sent(client: httpx.Client, outgoing: httpx.Request) -> httpx.Response:
    with _translated():
        return client.send(outgoing, stream=True)


def _streamed(answer: httpx.Response, fields: Fields) -> Response:
    response = Response(_pieces(answer), answer.status_code)
    response.headers.clear()
    response.headers.extend(fields)
    response.call_on_close(answer.close)
    return response


def _pieces(answer: httpx.Response) -> Iterator[bytes]:
    with _translated():
        yield from answer.iter_raw()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpx.TimeoutException as error:
        raise UpstreamTimeout from error
    except httpx.UnsupportedProtocol as error:
        raise BadUrl("Give an absolute http:// or https:// URL.") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UpstreamFailed from error
