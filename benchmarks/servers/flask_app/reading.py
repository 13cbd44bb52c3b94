"""A body read without saving it: spooled one of four ways, and read back."""

from __future__ import annotations

import codecs
import hashlib
import mmap
import os
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile, TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Protocol

from flask import Blueprint, Response, request

from benchmarks.servers.flask_app.bodies import (
    HARMLESS,
    body,
    form_body,
    form_parts,
    is_form,
    refuse_coding,
    verified,
)
from benchmarks.servers.flask_app.representation import preferred_type
from benchmarks.servers.flask_app.settings import READ_SIZE, SPILL_SIZE
from benchmarks.servers.flask_app.storage import disk_errors
from quart_app.errors import BadForm, BadRequest, NotText
from quart_app.protocol.digests import declared_digests
from quart_app.protocol.names import display_name, media_type
from quart_app.protocol.text import LineCounter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

reading = Blueprint("reading", __name__)

#: What is sent unless JSON is asked for: the body, of whatever type.
ANY_TYPE = "application/octet-stream"
JSON_TYPE = "application/json"


class Spool(Protocol):
    def read(self, size: int, /) -> bytes: ...


@reading.post("/read_data")
def read_data() -> Response | dict[str, Any]:
    via = request.args.get("via", "bytesio")
    if via not in SPOOLS:
        raise BadRequest(f"`via` is one of {', '.join(SPOOLS)}.")
    refuse_coding()
    with ExitStack() as stack:
        kind, spool = _spooled(via, stack)
        if preferred_type(request.accept_mimetypes, (ANY_TYPE, JSON_TYPE)) == JSON_TYPE:
            return {"via": via, **_described(spool), "media_type": kind}
        response = Response(_pieces(spool), headers=HARMLESS, content_type=kind)
        # The server closes the response whatever happens, and the temporary file with it.
        response.call_on_close(stack.pop_all().close)
    return response


def _spooled(via: str, stack: ExitStack) -> tuple[str, Spool]:
    """Spool the body, or the one file of a form; gives its media type too."""
    digests = declared_digests(request.headers)
    if not is_form():
        kind = media_type(request.headers.get("Content-Type"), "")
        return kind, SPOOLS[via](verified(body(), digests), stack)
    found = None
    chunks = verified(form_body(), digests)
    for part in form_parts(chunks, request.headers["Content-Type"]):
        if (content := part.file()) is None:
            continue
        if found:
            raise BadForm("The form has more than one file.")
        kind = media_type(part.header.media_type, display_name(part.header.filename))
        found = kind, SPOOLS[via](content, stack)
    if found is None:
        raise BadForm("The form has no file.")
    return found


def in_bytesio(chunks: Iterable[bytes], stack: ExitStack) -> Spool:
    """Keep bytes in `io.BytesIO`, and past `SPILL_SIZE` in a temporary file."""
    return _filled(stack.enter_context(SpooledTemporaryFile(SPILL_SIZE)), chunks)


def in_stringio(chunks: Iterable[bytes], stack: ExitStack) -> Spool:
    """Keep text, likewise; what is not UTF-8 is refused."""
    return _filled(stack.enter_context(SpooledTemporaryFile(SPILL_SIZE)), _text(chunks))


def in_temporary_file(chunks: Iterable[bytes], stack: ExitStack) -> Spool:
    """Keep bytes in a file that has no name, so that nothing can leave it behind."""
    return _filled(stack.enter_context(TemporaryFile()), chunks)


def in_mapped_file(chunks: Iterable[bytes], stack: ExitStack) -> Spool:
    """Keep bytes in such a file, and read them through `mmap`."""
    file = stack.enter_context(TemporaryFile())  # noqa: SIM115  # the stack closes it
    _filled(file, chunks)
    if not os.fstat(file.fileno()).st_size:  # which cannot be mapped
        return file
    return stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


SPOOLS: dict[str, Callable[[Iterable[bytes], ExitStack], Spool]] = {
    "bytesio": in_bytesio,
    "stringio": in_stringio,
    "tempfile": in_temporary_file,
    "mmap": in_mapped_file,
}


def _filled(file: IO[bytes], chunks: Iterable[bytes]) -> IO[bytes]:
    with disk_errors():
        for chunk in chunks:
            file.write(chunk)
        file.seek(0)
    return file


def _text(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise NotText from error


def _pieces(spool: Spool) -> Iterator[bytes]:
    while chunk := spool.read(READ_SIZE):
        yield chunk


def _described(spool: Spool) -> dict[str, Any]:
    digest, lines, size = hashlib.sha256(), LineCounter(), 0
    for chunk in _pieces(spool):
        digest.update(chunk)
        lines.feed(chunk)
        size += len(chunk)
    return {"size": size, "sha256": digest.hexdigest(), "lines": lines.finish()}
