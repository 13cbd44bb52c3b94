"""Bodies given back to their sender, or described; nothing of them stays."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING

from quart import Blueprint, Response, jsonify

from quart_app.errors import BadForm, BadRequest
from quart_app.protocol.names import display_name, media_type
from quart_app.services import Via
from quart_app.streaming import form_parts, limited
from quart_app.web.bodies import (
    HARMLESS,
    admit_form,
    admit_raw,
    file_of,
    is_form,
    verified_body,
)
from quart_app.web.context import preferred_type, services, streaming_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from quart_app.streaming import StreamingRequest

__all__ = ["reading"]

reading = Blueprint("reading", __name__)

#: What is sent unless JSON is asked for: the body, of whatever type.
ANY_TYPE = "application/octet-stream"
JSON_TYPE = "application/json"


@reading.post("/read_data")
async def read_data() -> Response:
    """Keep the body, or the one file of a form, for a moment; give it back or describe it."""
    request = streaming_request()
    via = _via(request)
    if is_form(request):
        return await _read_form(request, via)
    await admit_raw(request)
    kind = media_type(request.headers.get("Content-Type"), "")
    return await _read(request, via, verified_body(request), kind)


def _via(request: StreamingRequest) -> Via:
    try:
        return Via(request.args.get("via", Via.BYTESIO))
    except ValueError as error:
        raise BadRequest(f"`via` is one of {', '.join(Via)}.") from error


async def _read_form(request: StreamingRequest, via: Via) -> Response:
    await admit_form(request)
    response = None
    content_type, limits = request.headers["Content-Type"], services().form_limits
    async with aclosing(form_parts(verified_body(request), content_type, limits)) as parts:
        async for part in parts:
            if (chunks := await file_of(part)) is None:
                continue
            if response is not None:
                raise BadForm("The form has more than one file.")
            kind = media_type(part.media_type, display_name(part.filename))
            async with aclosing(limited(chunks, services().files.store.max_size)) as file:
                response = await _read(request, via, file, kind)
    if response is None:
        raise BadForm("The form has no file.")
    return response


async def _read(
    request: StreamingRequest, via: Via, chunks: AsyncIterable[bytes], kind: str
) -> Response:
    if preferred_type(request, (ANY_TYPE, JSON_TYPE)) == JSON_TYPE:
        found = asdict(await services().reading.describe(chunks, via))
        told = {"via": via, "size": found["size"], "sha256": found["sha256"], "media_type": kind}
        return jsonify(told | {"lines": found["lines"]})
    kept = services().reading.keep(chunks, via)
    spool = await request.resources.enter_async_context(kept)
    response = Response(spool.chunks(), headers=HARMLESS, content_type=kind)
    response.content_length = spool.size
    return response
