"""Stored files: listed, described, downloaded, deleted; and whether the service is well."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, request, send_file

from benchmarks.servers.flask_app import catalog, storage
from benchmarks.servers.flask_app.representation import (
    csv_rows,
    cursor_of,
    file_json,
    ndjson,
    position_of,
    preferred_type,
)
from benchmarks.servers.flask_app.settings import CACHE_MAX_AGE
from quart_app.errors import BadRequest, NotFound
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

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_app.models import ByteRange, File
    from quart_app.protocol.byteranges import ByteRangesFrame

files = Blueprint("files", __name__)

DEFAULT_LIMIT = 100
MOST_ROWS = 1000
STREAMED = {"text/csv": csv_rows, "application/x-ndjson": ndjson}
OFFERED = ("application/json", *STREAMED)


@files.get("/files")
def list_files() -> Response:
    chosen = preferred_type(request.accept_mimetypes, OFFERED)
    if chosen in STREAMED:
        rows = STREAMED[chosen](catalog.walk())
        response = Response(rows, content_type=f"{chosen}; charset=utf-8")
    else:
        response = jsonify(_page())
    response.vary.add("Accept")
    return response


def _page() -> dict[str, Any]:
    limit, cursor = _limit(request.args.get("limit")), request.args.get("cursor")
    page = catalog.page(limit + 1, position_of(cursor) if cursor else None)
    return {
        "files": [file_json(file) for file in page[:limit]],
        "next": cursor_of(page[limit - 1]) if len(page) > limit else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text) > 0):
        raise BadRequest("`limit` is a whole number from 1.")
    return min(int(text), MOST_ROWS)


@files.get("/files/<file_id>/info")
def describe(file_id: str) -> dict[str, Any]:
    return file_json(catalog.get(file_id))


@files.delete("/files/<file_id>")
def delete(file_id: str) -> Response:
    file = catalog.get(file_id)
    evaluate("DELETE", request.headers, validators_of(file, datetime.now(UTC)))
    storage.delete(file)
    return _without_type(Response(status=204))


@files.get("/files/<file_id>")
@files.get("/files/<file_id>/<name>")
def download(file_id: str, name: str = "") -> Response:  # noqa: ARG001  # for people's eyes
    file = catalog.get(file_id)
    now = datetime.now(UTC)
    validators = validators_of(file, now)
    if evaluate(request.method, request.headers, validators) is Outcome.NOT_MODIFIED:
        response = _without_type(Response(status=304))
    elif request.method == "HEAD" or (ranges := _ranges(file, validators)) is None:
        response = _whole(file)
    elif len(ranges) == 1:
        response = _one_range(file, ranges[0])
    else:
        response = _many_ranges(file, ranges)
    response.headers.update(_headers(file, validators))
    response.headers["Cache-Control"] = cache_control(CACHE_MAX_AGE, file.expires_at, now)
    return response


def _headers(file: File, validators: Validators) -> dict[str, str]:
    inline = request.args.get("inline") == "1" and inline_safe(file.media_type)
    return {
        "Accept-Ranges": "bytes",
        "ETag": validators.etag,
        "Last-Modified": http_date(validators.last_modified),
        "Repr-Digest": repr_digest(file.sha256),
        "Content-Disposition": content_disposition(file.name, inline=inline),
        "X-Content-Type-Options": "nosniff",
    }


def _ranges(file: File, validators: Validators) -> list[ByteRange] | None:
    if not range_allowed(request.headers.get("If-Range"), validators):
        return None
    return parse_ranges(request.headers.get("Range"), file.size)


def _whole(file: File) -> Response:
    """Hand the file to the server, which sends it without the bytes ever being in Python."""
    try:
        response = send_file(storage.path_of(file), conditional=False, etag=False)
    except FileNotFoundError as error:  # deleted meanwhile
        raise NotFound from error
    response.content_type = file.media_type
    return response


def _one_range(file: File, wanted: ByteRange) -> Response:
    source = storage.opened(file)
    response = Response(storage.read(source, wanted), 206, content_type=file.media_type)
    response.call_on_close(source.close)
    response.content_length = wanted.size
    response.headers["Content-Range"] = content_range(wanted, file.size)
    return response


def _many_ranges(file: File, ranges: list[ByteRange]) -> Response:
    boundary = new_boundary()
    frame = byteranges_parts(ranges, file.size, file.media_type, boundary)
    source = storage.opened(file)
    media_type = f"multipart/byteranges; boundary={boundary}"
    response = Response(_framed(source, frame), 206, content_type=media_type)
    response.call_on_close(source.close)
    response.content_length = frame.content_length
    return response


def _framed(source: IO[bytes], frame: ByteRangesFrame) -> Iterator[bytes]:
    for prefix, wanted in frame.prefixes:
        yield prefix
        yield from storage.read(source, wanted)
    yield frame.closing


def _without_type(response: Response) -> Response:
    del response.headers["Content-Type"]
    return response


@files.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@files.get("/readyz")
def readyz() -> dict[str, str]:
    storage.admit(0)
    catalog.page(1)
    return {"status": "ready"}
