"""Files as clients see them: JSON, CSV rows, lines, cursors."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import re
from dataclasses import asdict, fields
from datetime import UTC
from typing import TYPE_CHECKING, Any

from quart_app.errors import BadCursor
from quart_app.models import KIB, File, Position, from_microseconds, to_microseconds
from quart_app.protocol.names import url_name
from quart_app.protocol.text import spreadsheet_cell

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable
    from datetime import datetime


__all__ = [
    "cursor_of",
    "file_json",
    "file_url",
    "position_of",
    "streamed_csv",
    "streamed_ndjson",
]

#: A name that would make a file's URL that of its description.
RESERVED_NAME = "info"

COLUMNS = (*(field.name for field in fields(File)), "url")

#: Moment in microseconds and key, as `cursor_of` writes them.
POSITION = re.compile(r"([0-9]{1,18}):([A-Za-z0-9_-]{1,64})", re.ASCII)

#: Characters of rows gathered before they are sent.
SEND_SIZE = 64 * KIB


def file_url(file: File) -> str:
    """Give the URL path of a file's bytes; a file called `info` goes by its id alone."""
    path = f"/files/{file.id}"
    return path if file.name == RESERVED_NAME else f"{path}/{url_name(file.name)}"


def file_json(file: File) -> dict[str, Any]:
    """Give the JSON object that describes a file; times are RFC 3339, UTC."""
    times = {"created_at": _time(file.created_at), "expires_at": _time(file.expires_at)}
    return asdict(file) | times | {"url": file_url(file)}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def cursor_of(file: File) -> str:
    """Return the cursor of the page that follows a file."""
    position = file.position
    text = f"{to_microseconds(position.created_at)}:{position.id}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def position_of(cursor: str) -> Position:
    """Read a cursor.

    Raises:
        BadCursor: The cursor has another form than those of `cursor_of`.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        if (found := POSITION.fullmatch(text)) is None:
            raise BadCursor
        return Position(from_microseconds(int(found[1])), found[2])
    except (binascii.Error, UnicodeDecodeError, ValueError, OverflowError) as error:
        raise BadCursor from error


def streamed_ndjson(files: AsyncIterable[File]) -> AsyncGenerator[str]:
    """Stream files as JSON, one a line."""
    return _streamed(files, lambda out, file: out.write(json.dumps(file_json(file)) + "\n"))


async def streamed_csv(files: AsyncIterable[File]) -> AsyncGenerator[str]:
    """Stream files as CSV with a header (RFC 4180), without cells that spreadsheets would run."""
    header = io.StringIO()
    csv.writer(header).writerow(COLUMNS)
    yield header.getvalue()
    rows = _streamed(files, lambda out, file: csv.writer(out).writerow(_cells(file)))
    async for text in rows:
        yield text


def _cells(file: File) -> list[Any]:
    values = file_json(file).values()
    return [spreadsheet_cell(value) if isinstance(value, str) else value for value in values]


async def _streamed(
    files: AsyncIterable[File], write: Callable[[io.StringIO, File], object]
) -> AsyncGenerator[str]:
    out = io.StringIO()
    async for file in files:
        write(out, file)
        if out.tell() >= SEND_SIZE:
            yield out.getvalue()
            out = io.StringIO()
    yield out.getvalue()
