"""Bodies given back to their sender, or described; nothing of them stays."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING

from quart import Blueprint, Response, jsonify

from quart_app.errors import BadForm, BadRequest
from quart_app.protocol.digests import declared_digests
from quart_app.protocol.names import display_name, media_type
from quart_app.services import Via
from quart_app.streaming import chained, form_parts, verified
from quart_app.web.bodies import HARMLESS, admit_form, admit_raw, is_form
from quart_app.web.context import JoinedFields, services, streaming_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

    from quart_app.streaming import Part, StreamingRequest

__all__ = ["reading"]

reading = Blueprint("reading", __name__)


@reading.post("/read_data")
async def read_data() -> Response:
    """Keep the body, or the one file of a form, for a moment; give it back or describe it."""
    request = streaming_request()
    via = _via(request)
    if is_form(request):
        return await _read_form(request, via)
    await admit_raw(request)
    kind = media_type(request.headers.get("Content-Type"), "")
    return await _read(request, via, _checked(request), kind)


def _via(request: StreamingRequest) -> Via:
    try:
        return Via(request.args.get("via", Via.BYTESIO))
    except ValueError as error:
        raise BadRequest(f"`via` is one of {', '.join(Via)}.") from error


def _checked(request: StreamingRequest) -> AsyncIterator[bytes]:
    digests = declared_digests(JoinedFields(request.headers))
    return verified(request.body, digests) if digests else request.body


async def _read_form(request: StreamingRequest, via: Via) -> Response:
    await admit_form(request)
    response = None
    content_type, limits = request.headers["Content-Type"], services().form_limits
    async with aclosing(form_parts(_checked(request), content_type, limits)) as parts:
        async for part in parts:
            if (chunks := await _file(part)) is None:
                continue
            if response is not None:
                raise BadForm("The form has more than one file.")
            kind = media_type(part.media_type, display_name(part.filename))
            response = await _read(request, via, chunks, kind)
    if response is None:
        raise BadForm("The form has no file.")
    return response


async def _file(part: Part) -> AsyncIterable[bytes] | None:
    """Give the content of a part that is a file, and no file input that was left empty."""
    if part.filename == "":
        first = await anext(part, b"")
        return chained([first], part) if first else None
    return None if part.filename is None else part


async def _read(
    request: StreamingRequest, via: Via, chunks: AsyncIterable[bytes], kind: str
) -> Response:
    if request.accept_mimetypes.best == "application/json":
        found = asdict(await services().reading.describe(chunks, via))
        told = {"via": via, "size": found["size"], "sha256": found["sha256"], "media_type": kind}
        return jsonify(told | {"lines": found["lines"]})
    kept = services().reading.keep(chunks, via)
    spool = await request.resources.enter_async_context(kept)
    response = Response(spool.chunks(), headers=HARMLESS, content_type=kind)
    response.content_length = spool.size
    return response
