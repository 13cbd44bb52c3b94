"""Files on their way out: conditions and ranges decide, then bytes stream."""

from __future__ import annotations

import re
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response

from quart_app.models import ByteRange
from quart_app.protocol.byteranges import byteranges_parts, new_boundary
from quart_app.protocol.caching import cache_control
from quart_app.protocol.conditions import (
    Outcome,
    Validators,
    evaluate,
    http_date,
    range_allowed,
    validators_of,
)
from quart_app.protocol.digests import repr_digest
from quart_app.protocol.names import content_disposition, inline_safe
from quart_app.protocol.ranges import content_range, parse_ranges
from quart_app.storage import FileReading
from quart_app.streaming import chained
from quart_app.web.context import JoinedFields, services, streaming_request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from quart_app.models import File
    from quart_app.protocol.byteranges import ByteRangesFrame
    from quart_app.storage import Reader
    from quart_app.streaming import StreamingRequest

__all__ = ["downloads"]

downloads = Blueprint("downloads", __name__)

#: Conditions that nginx would weigh again, by validators of its own.
CONDITIONS = ("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since")

#: A `Range` that nginx reads as we do: of lists and other odd ones it makes something else.
PLAIN_RANGE = re.compile(r"bytes=(?:[0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")


@downloads.get("/files/<file_id>")
@downloads.get("/files/<file_id>/<name>")
async def download(file_id: str, name: str = "") -> Response:  # noqa: ARG001  # for people's eyes
    """Send a file, or ranges of it, unless the client has it already."""
    request = streaming_request()
    file = await services().files.get(file_id)
    now = datetime.now(UTC)
    validators = validators_of(file, now)
    headers = _headers(file, validators, request.args.get("inline") == "1")
    headers["Cache-Control"] = cache_control(services().cache_max_age, file.expires_at, now)
    if evaluate(request.method, JoinedFields(request.headers), validators) is Outcome.NOT_MODIFIED:
        return _not_modified(headers)
    if request.method == "HEAD":  # for which no range is defined (RFC 9110, 14.2)
        await services().files.require_bytes(file)
        return _answer(None, 200, headers, file.media_type, file.size)
    ranges = _ranges(request, file, validators)
    if (location := _location(request, file, ranges)) is not None:
        return _handed_over(location, headers, file.media_type)
    reader = await request.resources.enter_async_context(services().files.open(file))
    return _streamed(reader, file, ranges, headers)


def _headers(file: File, validators: Validators, inline: bool) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "ETag": validators.etag,
        "Last-Modified": http_date(validators.last_modified),
        "Repr-Digest": repr_digest(file.sha256),
        "Content-Disposition": content_disposition(
            file.name, inline=inline and inline_safe(file.media_type)
        ),
        "X-Content-Type-Options": "nosniff",
    }


def _ranges(
    request: StreamingRequest, file: File, validators: Validators
) -> list[ByteRange] | None:
    if not range_allowed(request.headers.get("If-Range"), validators):
        return None
    return parse_ranges(request.headers.get("Range"), file.size)


def _location(request: StreamingRequest, file: File, ranges: list[ByteRange] | None) -> str | None:
    """Give the place where nginx finds the bytes, or None where it might send others than we do."""
    prefix = services().accel_redirect
    path = prefix and services().files.relative_path(file)
    wanted = request.headers.get("Range")
    plain = wanted is None or (ranges is not None and PLAIN_RANGE.fullmatch(wanted))
    if prefix is None or path is None or not plain:
        return None
    return None if any(name in request.headers for name in CONDITIONS) else prefix + path


def _streamed(
    reader: Reader, file: File, ranges: list[ByteRange] | None, headers: dict[str, str]
) -> Response:
    if ranges is None:
        whole = ByteRange(0, file.size)
        return _answer(_read(reader, whole), 200, headers, file.media_type, file.size)
    if len(ranges) == 1:
        headers["Content-Range"] = content_range(ranges[0], file.size)
        return _answer(_read(reader, ranges[0]), 206, headers, file.media_type, ranges[0].size)
    boundary = new_boundary()
    frame = byteranges_parts(ranges, file.size, file.media_type, boundary)
    media_type = f"multipart/byteranges; boundary={boundary}"
    return _answer(_framed(reader, frame), 206, headers, media_type, frame.content_length)


def _handed_over(location: str, headers: dict[str, str], media_type: str) -> Response:
    del headers["Accept-Ranges"]  # nginx adds its own beside it
    headers["X-Accel-Redirect"] = location
    return _answer(None, 200, headers, media_type, 0)


def _not_modified(headers: dict[str, str]) -> Response:
    response = Response(None, 304, headers)
    del response.headers["Content-Type"]
    return response


def _answer(
    body: AsyncGenerator[Any] | None,
    status: int,
    headers: dict[str, str],
    media_type: str,
    size: int,
) -> Response:
    response = Response(body, status, headers, content_type=media_type)
    response.content_length = size
    return response


def _read(reader: Reader, wanted: ByteRange) -> AsyncGenerator[Any]:
    """Stream a range: its bytes, or where they are."""
    file = reader.file_range(wanted) if isinstance(reader, FileReading) else None
    return reader.chunks(wanted) if file is None else chained([file])


async def _framed(reader: Reader, frame: ByteRangesFrame) -> AsyncGenerator[Any]:
    for prefix, wanted in frame.prefixes:
        yield prefix
        async with aclosing(_read(reader, wanted)) as chunks:
            async for chunk in chunks:
                yield chunk
    yield frame.closing
