"""Request bodies in pieces of at most `READ_SIZE`: counted, limited, and complete or an error."""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import TYPE_CHECKING

from flask import request

from benchmarks.servers.flask_app.settings import FORM_OVERHEAD, MAX_UPLOAD_SIZE, READ_SIZE
from quart_app.errors import (
    BodyTooShort,
    ClientDisconnected,
    DigestMismatch,
    TooLarge,
    UnsupportedEncoding,
)
from quart_app.protocol.digests import ALGORITHMS
from quart_app.protocol.headers import is_coded
from quart_app.protocol.multipart import FormParser, PartHeader, boundary_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

    from quart_app.protocol.multipart import Event

FORM_TYPE = "multipart/form-data"

#: What others wrote must not act in this service's name.
HARMLESS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
UNSANDBOXED = {"X-Content-Type-Options": "nosniff"}


def body(limit: float = MAX_UPLOAD_SIZE) -> Iterator[bytes]:
    """Give the body of the current request in pieces.

    The stream is fetched at once, so that the pieces can be read while the answer is sent.

    Args:
        limit: Bytes it may have, or infinity.
    """
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(int(limit))
    return _pieces(request.stream, request.content_length, limit)


def _pieces(stream: IO[bytes], declared: int | None, limit: float) -> Iterator[bytes]:
    size = 0
    while chunk := _read(stream):
        size += len(chunk)
        if size > limit:
            raise TooLarge(int(limit))
        yield chunk
    if declared is not None and size < declared:
        raise BodyTooShort


def _read(stream: IO[bytes]) -> bytes:
    try:
        return stream.read(READ_SIZE)
    except ConnectionError as error:
        raise ClientDisconnected from error
    except OSError as error:  # which gunicorn makes of chunks that end too early
        raise BodyTooShort from error


def verified(chunks: Iterator[bytes], digests: Mapping[str, bytes]) -> Iterator[bytes]:
    """Pass a body on, and compare its digests (by their names in RFC 9530) at its end."""
    found = {name: hashlib.new(ALGORITHMS[name]) for name in digests}
    for chunk in chunks:
        for digest in found.values():
            digest.update(chunk)
        yield chunk
    if any(found[name].digest() != told for name, told in digests.items()):
        raise DigestMismatch


class Part:
    """One part of a form; it streams from the request, so it is read once, before the next."""

    def __init__(self, header: PartHeader, events: Iterator[Event]) -> None:
        self.header = header
        self._events = events
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        while not self._ended:
            event = next(self._events)
            if isinstance(event, bytes):
                yield event
            else:
                self._ended = True

    def file(self) -> Iterator[bytes] | None:
        """Give the content of a file; None for a plain field or a file input left empty."""
        if self.header.filename is None:
            return None
        pieces = iter(self)
        if self.header.filename:
            return pieces
        first = next(pieces, b"")
        return chain([first], pieces) if first else None

    def text(self) -> str:
        return self.header.text(b"".join(self))


def form_parts(chunks: Iterator[bytes], content_type: str) -> Iterator[Part]:
    """Walk the parts of a form as they arrive; what is left unread of one is skipped."""
    events = _events(chunks, FormParser(boundary_of(content_type)))
    for event in events:
        if isinstance(event, PartHeader):
            part = Part(event, events)
            yield part
            for _ in part:
                pass


def _events(chunks: Iterator[bytes], parser: FormParser) -> Iterator[Event]:
    for chunk in chunks:
        yield from parser.feed(chunk)
    parser.finish()


def checked_form(chunks: Iterator[bytes], content_type: str) -> Iterator[bytes]:
    """Pass a form on as it is; the last piece only once the form has proved to be whole."""
    parser = FormParser(boundary_of(content_type))
    held = b""
    for chunk in chunks:
        for _ in parser.feed(chunk):
            pass
        if held:
            yield held
        held = chunk
    parser.finish()
    yield held


def is_form() -> bool:
    return request.mimetype == FORM_TYPE


def form_body() -> Iterator[bytes]:
    """Give the body of a form, its files limited together."""
    return body(MAX_UPLOAD_SIZE + FORM_OVERHEAD)


def refuse_coding() -> None:
    """Refuse what would not be the file's own bytes."""
    if is_coded(request.headers.get("Content-Encoding")):
        raise UnsupportedEncoding("Send the file's own bytes, without Content-Encoding.")
