"""Remote files streamed through or stored, and bodies sent on to configured targets."""

from __future__ import annotations

import json
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import structlog
from quart import Blueprint, Response, jsonify

from quart_app.errors import BadForm, BadRequest, BadUrl, UpstreamFailed
from quart_app.models import KIB
from quart_app.protocol.forwarding import value_of
from quart_app.streaming import checked_form
from quart_app.web.bodies import HARMLESS, harmless, lifetime_of
from quart_app.web.context import services, streaming_request
from quart_app.web.representation import file_json
from quart_app.web.routing import add_converters

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from quart_app.protocol.forwarding import Fields
    from quart_app.streaming import StreamingRequest
    from quart_app.upstream import Answer

__all__ = ["relaying"]

LOG = structlog.get_logger("quart_app.relaying")

relaying = Blueprint("relaying", __name__)
relaying.record(add_converters)

#: Largest JSON of a request to fetch.
MAX_REQUEST_SIZE = 64 * KIB

#: Statuses that never have a body (RFC 9110, 6.4.1).
BODYLESS = {204, 304}

#: The scheme of a URL, whose second slash many a server in front takes for one too many.
SCHEME = re.compile(r"/*([a-z][a-z0-9+.-]*):/{1,2}(?=[^/])", re.IGNORECASE)


#: Scheme and authority of a request target in absolute form, as clients send it to a server that
#: they take for a proxy (RFC 9112, 3.2.2).
ABSOLUTE_FORM = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*(?=/)", re.IGNORECASE)


@relaying.get("/<remote:url>")
async def relay(url: str) -> Response:  # noqa: ARG001  # has lost its percent-encoding
    """Stream a remote file through, or the part of it that is asked for."""
    request = streaming_request()
    request.end_with_client()  # else a silent server would be waited for in vain
    opened = services().relaying.open(request.method, _asked_url(request), _fields(request))
    answer = await request.resources.enter_async_context(opened)
    return await _answered(answer, harmless(value_of(answer.fields, "content-type")))


@relaying.post("/fetch")
async def fetch() -> Response:
    """Store a remote file."""
    request = streaming_request()
    lifetime = lifetime_of(request)
    url, name = await _wanted(request)
    request.end_with_client()
    kept = file_json(await services().relaying.fetch(url, name, _fields(request), lifetime))
    response = jsonify(kept)
    response.status_code = 201
    response.headers["Location"] = kept["url"]
    return response


@relaying.post("/proxy", defaults={"target": None})
@relaying.post("/proxy/<target>")
async def proxy(target: str | None) -> Response:
    """Send the body on to a target, and its answer back."""
    request = streaming_request()
    request.end_when_gone()  # else a destination that stalls would keep what nobody waits for
    size = _declared_size(request)
    body = _sound_body(request, size)
    sent = services().relaying.send_on(target, _query(request), _fields(request), body, size)
    return await _answered(await request.resources.enter_async_context(sent), HARMLESS)


def _declared_size(request: StreamingRequest) -> int | None:
    if request.content_length is None and request.http_version.startswith("1"):
        return None if "Transfer-Encoding" in request.headers else 0
    return request.content_length


def _sound_body(request: StreamingRequest, size: int | None) -> AsyncIterator[bytes]:
    """Give the body as it is, with an eye on the form it may be."""
    if request.mimetype != "multipart/form-data" or "Content-Encoding" in request.headers:
        return request.body
    if size == 0:  # the head alone would be a whole request
        raise BadForm("The form ends before its closing boundary.")
    limits = services().form_limits.for_passing()
    return checked_form(request.body, request.headers["Content-Type"], limits, size)


async def _wanted(request: StreamingRequest) -> tuple[str, str | None]:
    request.body.limit_to(MAX_REQUEST_SIZE)
    try:
        wanted: Any = json.loads(await request.body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is no JSON.") from error
    url, name = (
        (wanted.get(key) for key in ("url", "name")) if isinstance(wanted, dict) else 2 * [0]
    )
    if not isinstance(url, str) or not isinstance(name, str | None):
        raise BadRequest('Send {"url": "…"}, and a "name" if you like.')
    return url, name


def _asked_url(request: StreamingRequest) -> str:
    """Return the URL as the client wrote it: routing has decoded the path."""
    path = _origin_form(request.scope["raw_path"].decode(errors="replace"))
    if SCHEME.match(path) is None:
        path = unquote(path)  # a client that encodes whatever it puts into a path
    scheme = SCHEME.match(path)
    if scheme is None:
        raise BadUrl("Give an absolute http:// or https:// URL.")
    query = _query(request)
    return f"{scheme[1]}://{path[scheme.end() :]}{'?' if query else ''}{query}"


def _origin_form(target: str) -> str:
    absolute = ABSOLUTE_FORM.match(target)
    return target if absolute is None else target[absolute.end() :]


def _query(request: StreamingRequest) -> str:
    return request.scope["query_string"].decode(errors="replace")


def _fields(request: StreamingRequest) -> Fields:
    """Give the fields as they came; Quart adds one of its own."""
    raw = request.scope["headers"]
    return [(name.decode("iso-8859-1"), value.decode("iso-8859-1")) for name, value in raw]


async def _answered(answer: Answer, added: Mapping[str, str]) -> Response:
    if answer.status in BODYLESS:
        async for _ in answer.chunks:  # the answer is complete once the request is sent
            pass
    response = Response(None if answer.status in BODYLESS else _told(answer), answer.status)
    response.headers.clear()
    for name, value in answer.fields:
        if answer.status not in BODYLESS or name.lower() != "content-length":
            response.headers.add(name, value)
    for name, value in added.items():
        response.headers.add(name, value)
    return response


async def _told(answer: Answer) -> AsyncGenerator[bytes]:
    """Give the body of an answer; that it was cut is news for the log."""
    try:
        async with aclosing(answer.chunks) as chunks:
            async for chunk in chunks:
                yield chunk
    except UpstreamFailed as error:
        LOG.warning("answer cut", code=error.code, cause=repr(error.__cause__))
        raise
