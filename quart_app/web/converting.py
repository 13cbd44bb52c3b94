"""Bodies converted while they arrive: the answer streams beside them."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog
from quart import Blueprint, Response

from quart_app.errors import BadRequest, BodyError, UnsupportedEncoding
from quart_app.protocol.headers import is_coded
from quart_app.protocol.multipart import boundary_of
from quart_app.protocol.names import display_name, media_type
from quart_app.services import measured
from quart_app.streaming import chained, form_parts, limited
from quart_app.web.bodies import HARMLESS, bound, is_form
from quart_app.web.context import JoinedFields, services, streaming_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from quart_app.streaming import Part, StreamingRequest

__all__ = ["converting"]

converting = Blueprint("converting", __name__)

LOG = structlog.get_logger("quart_app.web")


@converting.post("/convert")
async def convert_form() -> Response:
    """Tell of each part of a form what it was, as it ends: a line of JSON."""
    request = streaming_request()
    boundary_of(request.headers.get("Content-Type", ""))
    if is_coded(JoinedFields(request.headers).get("Content-Encoding")):
        raise UnsupportedEncoding("Send the form's own bytes, without Content-Encoding.")
    return await _streamed(request, _lines(request), "application/x-ndjson")


@converting.post("/convert/<codec>")
async def convert_body(codec: str) -> Response:
    """Send the body back, converted."""
    request = streaming_request()
    conversion = services().converting.by_name(codec)
    if is_form(request):
        raise BadRequest("Send the file itself as the body, no form.")
    bound(request)
    output = conversion.converted(request.body)
    return await _streamed(request, output, conversion.media_type)


async def _streamed(
    request: StreamingRequest, output: AsyncGenerator[bytes], kind: str
) -> Response:
    """Answer with a stream; what goes wrong before its first byte is answered as an error."""
    await request.resources.enter_async_context(aclosing(output))
    first = await anext(output, b"")
    return Response(_told(chained([first], output)), headers=HARMLESS, content_type=kind)


async def _told(output: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Pass a stream on; of one that breaks off, the client sees no more than that it does."""
    try:
        async for chunk in output:
            yield chunk
    except BodyError as error:
        LOG.info("conversion broken off", code=error.problem_code, detail=error.detail)
        raise


async def _lines(request: StreamingRequest) -> AsyncGenerator[bytes]:
    content_type, limits = request.headers["Content-Type"], services().form_limits.for_passing()
    max_size = services().files.store.max_size
    async with aclosing(form_parts(request.body, content_type, limits)) as parts:
        async for part in parts:
            size, sha256 = await measured(limited(part, max_size))
            line = {
                "name": part.name,
                "filename": part.filename and display_name(part.filename),
                "size": size,
                "sha256": sha256,
                "media_type": _media_type(part),
            }
            yield json.dumps(line).encode() + b"\n"


def _media_type(part: Part) -> str:
    if part.filename is None:  # RFC 7578, 4.4
        return media_type(part.media_type, "field.txt")
    return media_type(part.media_type, display_name(part.filename))
