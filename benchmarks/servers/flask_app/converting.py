"""Bodies converted while they arrive, in pieces of `READ_SIZE`.

WSGI lets an answer begin before the body has ended, and gunicorn does it. But a read comes back
only once it has all it was asked for, so that what is slower than that waits.
"""

from __future__ import annotations

import hashlib
import json
from itertools import chain
from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from benchmarks.servers.flask_app.bodies import (
    HARMLESS,
    body,
    form_body,
    form_parts,
    is_form,
    refuse_coding,
)
from benchmarks.servers.flask_app.settings import MAX_EXPANSION, MAX_UPLOAD_SIZE
from quart_app.errors import BadRequest, NotFound
from quart_app.protocol.codecs import (
    Bounded,
    CsvToNdjson,
    ExpansionLimit,
    Gunzip,
    Gzip,
    NdjsonToCsv,
)
from quart_app.protocol.names import display_name, media_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.servers.flask_app.bodies import Part
    from quart_app.protocol.codecs import Codec

converting = Blueprint("converting", __name__)


def _bounded(codec: Codec) -> Codec:
    return Bounded(codec, ExpansionLimit(max_ratio=MAX_EXPANSION))


CODECS: dict[str, tuple[str, Callable[[], Codec]]] = {
    "gzip": ("application/gzip", Gzip),
    "gunzip": (
        "application/octet-stream",
        lambda: Gunzip(max_ratio=MAX_EXPANSION, max_size=MAX_UPLOAD_SIZE),
    ),
    "csv-to-ndjson": ("application/x-ndjson", lambda: _bounded(CsvToNdjson())),
    "ndjson-to-csv": ("text/csv; charset=utf-8", lambda: _bounded(NdjsonToCsv())),
}


@converting.post("/convert")
def convert_parts() -> Response:
    refuse_coding()
    parts = form_parts(form_body(), request.headers.get("Content-Type", ""))
    return _streamed(map(_line, parts), "application/x-ndjson")


@converting.post("/convert/<codec>")
def convert(codec: str) -> Response:
    if codec not in CODECS:
        raise NotFound(f"The codecs are {', '.join(CODECS)}.")
    if is_form():
        raise BadRequest("Send the file itself as the body, no form.")
    refuse_coding()
    kind, make = CODECS[codec]
    return _streamed(_converted(body(), make()), kind)


def _streamed(output: Iterator[bytes], kind: str) -> Response:
    """Answer with a stream; what goes wrong before its first piece is answered as an error."""
    first = next(output, b"")
    return Response(chain([first], output), headers=HARMLESS, content_type=kind)


def _converted(chunks: Iterator[bytes], codec: Codec) -> Iterator[bytes]:
    for chunk in chunks:
        yield from filter(None, codec.feed(chunk))
    yield from filter(None, codec.finish())


def _line(part: Part) -> bytes:
    digest, size = hashlib.sha256(), 0
    for chunk in part:
        digest.update(chunk)
        size += len(chunk)
    raw_name, stated = part.header.filename, part.header.media_type
    filename = raw_name and display_name(raw_name)
    # RFC 7578, 4.4: a plain field is text unless it says otherwise.
    guessed_from = "field.txt" if raw_name is None else display_name(raw_name)
    line = {
        "name": part.header.name,
        "filename": filename,
        "size": size,
        "sha256": digest.hexdigest(),
        "media_type": media_type(stated, guessed_from),
    }
    return json.dumps(line).encode() + b"\n"
