"""Files as clients see them: JSON, CSV rows, lines of JSON, cursors."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import MIMEAccept

from quart_app.errors import BadCursor
from quart_app.models import KIB, File, Position, from_microseconds, to_microseconds
from quart_app.protocol.names import url_name
from quart_app.protocol.text import spreadsheet_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

#: A name that would make a file's URL that of its description.
RESERVED_NAME = "info"

COLUMNS = (*(field.name for field in fields(File)), "url")

#: Characters of rows gathered before they are sent.
SEND_SIZE = 64 * KIB


def preferred_type(accepted: MIMEAccept, offered: Sequence[str]) -> str:
    """Give the media type a client likes best; parameters tell none of ours apart."""
    bare = MIMEAccept((kind.partition(";")[0].strip(), quality) for kind, quality in accepted)
    return bare.best_match(offered, default=offered[0])


def file_json(file: File) -> dict[str, Any]:
    path = f"/files/{file.id}"
    url = path if file.name == RESERVED_NAME else f"{path}/{url_name(file.name)}"
    times = {"created_at": _time(file.created_at), "expires_at": _time(file.expires_at)}
    return asdict(file) | times | {"url": url}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def cursor_of(file: File) -> str:
    """Make the cursor of the page that follows a file."""
    text = f"{to_microseconds(file.created_at)}:{file.id}"
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def position_of(cursor: str) -> Position:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
        microseconds, _, file_id = text.partition(":")
        return Position(from_microseconds(int(microseconds)), file_id)
    except (ValueError, OverflowError) as error:
        raise BadCursor from error


def ndjson(files: Iterable[File]) -> Iterator[str]:
    return _gathered(files, lambda out, file: out.write(json.dumps(file_json(file)) + "\n"))


def csv_rows(files: Iterable[File]) -> Iterator[str]:
    header = io.StringIO()
    csv.writer(header).writerow(COLUMNS)
    yield header.getvalue()
    yield from _gathered(files, lambda out, file: csv.writer(out).writerow(_cells(file)))


def _cells(file: File) -> list[Any]:
    values = file_json(file).values()
    return [spreadsheet_cell(value) if isinstance(value, str) else value for value in values]


def _gathered(files: Iterable[File], write: Callable[[io.StringIO, File], object]) -> Iterator[str]:
    out = io.StringIO()
    for file in files:
        write(out, file)
        if out.tell() >= SEND_SIZE:
            yield out.getvalue()
            out = io.StringIO()
    yield out.getvalue()
