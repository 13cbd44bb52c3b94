"""The list of files, and what is known of one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from quart import Blueprint, Response, jsonify, request

from quart_app.errors import BadRequest
from quart_app.protocol.conditions import evaluate, validators_of
from quart_app.web.context import JoinedFields, preferred_type, services
from quart_app.web.representation import (
    cursor_of,
    file_json,
    position_of,
    streamed_csv,
    streamed_ndjson,
)

__all__ = ["listing"]

listing = Blueprint("listing", __name__)

DEFAULT_LIMIT = 100
MOST_ROWS = 1000

STREAMED = {"text/csv": streamed_csv, "application/x-ndjson": streamed_ndjson}
OFFERED = ("application/json", *STREAMED)


@listing.get("/files")
async def list_files() -> Response:
    """List files, newest first: a page of JSON, or all as CSV or lines of JSON."""
    chosen = preferred_type(request, OFFERED)
    if chosen in STREAMED:
        rows = STREAMED[chosen](services().files.all())
        response = Response(rows, content_type=f"{chosen}; charset=utf-8")
    else:
        response = jsonify(await _page())
    response.vary.add("Accept")
    return response


async def _page() -> dict[str, Any]:
    limit = _limit(request.args.get("limit"))
    cursor = request.args.get("cursor")
    after = position_of(cursor) if cursor else None
    page = await services().files.page(limit=limit + 1, after=after)
    more = len(page) > limit
    return {
        "files": [file_json(file) for file in page[:limit]],
        "next": cursor_of(page[limit - 1]) if more else None,
    }


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text) > 0):
        raise BadRequest("`limit` is a whole number from 1.")
    return min(int(text), MOST_ROWS)


@listing.get("/files/<file_id>/info")
async def describe(file_id: str) -> dict[str, Any]:
    """Describe a file."""
    file = await services().files.get(file_id)
    await services().files.require_bytes(file)
    return file_json(file)


@listing.delete("/files/<file_id>")
async def delete(file_id: str) -> Response:
    """Delete a file, unless a condition of the request fails (RFC 9110, 13.1)."""
    file = await services().files.get(file_id)
    evaluate("DELETE", JoinedFields(request.headers), validators_of(file, datetime.now(UTC)))
    await services().files.delete(file_id)
    response = Response(None, 204)
    del response.headers["Content-Type"]
    return response
