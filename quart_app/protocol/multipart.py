"""`multipart/form-data` as a pure stream of events (RFC 7578, RFC 2046, 5.1)."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from multipart import (
    _COMPLETE,
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
)

from quart_app.errors import BadForm, FormTooComplex
from quart_app.models import KIB, MIB
from quart_app.protocol.headers import parameters
from quart_app.protocol.names import parse_disposition_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Event", "FormLimits", "FormParser", "PartEnd", "PartHeader", "boundary_of"]

_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Bounds on what a form makes its reader hold; files stream and are bounded elsewhere.

    Attributes:
        max_parts: Parts of a form.
        max_headers: Header fields of a part.
        max_header_size: Bytes of one header field.
        max_field_size: Bytes of one plain field, its name included.
        max_fields_size: Bytes of all plain fields, their names included.
    """

    max_parts: int = 1000
    max_headers: int = 8
    max_header_size: int = 8 * KIB
    max_field_size: int = 1 * MIB
    max_fields_size: int = 1 * MIB

    def for_passing(self) -> FormLimits:
        """Give bounds for who passes parts and fields on without holding them."""
        return replace(
            self, max_parts=sys.maxsize, max_field_size=sys.maxsize, max_fields_size=sys.maxsize
        )


@dataclass(frozen=True, slots=True)
class PartHeader:
    """A part begins.

    Attributes:
        name: Name of the form field.
        filename: Untrusted file name, `filename*` first; None for a plain field, empty where a
            browser sends a file field that was left empty.
        media_type: The part's `Content-Type` as sent, or None.
        headers: All header fields by name in title case.
    """

    name: str
    filename: str | None
    media_type: str | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


#: For each part a `PartHeader`, its content in pieces, and a `PartEnd`.
Event: TypeAlias = PartHeader | bytes | PartEnd


def boundary_of(content_type: str) -> str:
    """Return the boundary from the `Content-Type` of a form (RFC 2046, 5.1.1).

    Raises:
        BadForm: It is no `multipart/form-data`, or its boundary is missing or not valid.
    """
    media_type, found = parameters(content_type)
    boundary = found.get("boundary", "")
    if media_type != "multipart/form-data":
        raise BadForm("The body is not multipart/form-data.")
    if not _BOUNDARY.fullmatch(boundary):
        raise BadForm("The boundary of the form is missing or not valid.")
    return boundary


class FormParser:
    """Turns the bytes of a form into events, however they are cut into pieces.

    It holds less than a delimiter of content, and the header of one part. Line breaks before the
    first boundary and white space after the last are let pass, any other preamble or epilogue is
    refused.
    """

    def __init__(self, boundary: str, limits: FormLimits | None = None) -> None:
        self._limits = limits or FormLimits()
        self._parser = PushMultipartParser(
            boundary,
            max_header_size=self._limits.max_header_size,
            max_header_count=self._limits.max_headers,
            max_segment_count=self._limits.max_parts,
            strict=True,
        )
        self._opening = b"--" + boundary.encode("ascii")
        self._head = b""
        self._opened = self._closed = False
        self._in_field = False
        self._field_size = self._fields_size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take the next piece; its events must be read to the end before the next `feed`.

        Raises:
            BadForm: The form is malformed or followed by junk.
            FormTooComplex: The form passes a limit.
        """
        if not self._opened:
            # The parser would judge a preamble by the way it is cut into pieces.
            data = (self._head + data).lstrip(b"\r\n")
            if not data.startswith(self._opening[: len(data)]):
                raise BadForm("The form does not begin with its boundary.")
            self._opened = len(data) >= len(self._opening)
            self._head = b"" if self._opened else data
        if self._opened and not self._closed and data:
            yield from self._parse(data)
            # The parser keeps quiet about what follows the closing boundary in the same piece,
            # and refuses any further piece, were it a line break.
            self._closed = self._parser._state is _COMPLETE  # noqa: SLF001 -- no public way
            data = self._parser._buffer  # noqa: SLF001
        if self._closed and data.strip():
            raise BadForm("The form is followed by other data.")

    def finish(self) -> None:
        """Say that no more data comes.

        Raises:
            BadForm: The form is not complete.
        """
        if not self._closed:
            raise BadForm("The form ends before its closing boundary.")

    def _parse(self, data: bytes) -> Iterator[Event]:
        with _translated():
            for event in self._parser.parse(data):
                if event is None:
                    yield PartEnd()
                elif isinstance(event, MultipartSegment):
                    yield self._begin(event)
                else:
                    self._charge(len(event))
                    yield event

    def _begin(self, segment: MultipartSegment) -> PartHeader:
        headers = dict(segment.headerlist)
        _refuse_encoded(headers)
        disposition = headers["Content-Disposition"]
        filename = segment.filename
        if "filename*" in disposition.lower():
            filename = parse_disposition_name(disposition)
        self._in_field, self._field_size = filename is None, 0
        self._charge(len(segment.name.encode()))
        return PartHeader(segment.name, filename, headers.get("Content-Type"), headers)

    def _charge(self, size: int) -> None:
        if not self._in_field:
            return
        self._field_size += size
        self._fields_size += size
        if self._field_size > self._limits.max_field_size:
            raise FormTooComplex("A field of the form is too large.")
        if self._fields_size > self._limits.max_fields_size:
            raise FormTooComplex("The fields of the form are too large.")


def _refuse_encoded(headers: Mapping[str, str]) -> None:
    """Refuse parts whose bytes are not those of the file (RFC 7578, 4.3 and 4.7)."""
    encoding = headers.get("Content-Transfer-Encoding", "binary").strip().lower()
    if encoding not in {"binary", "8bit", "7bit"}:
        raise BadForm("A part has a Content-Transfer-Encoding.")
    if headers.get("Content-Type", "").lower().startswith("multipart/mixed"):
        raise BadForm("A part holds parts; send each file as a part of its own.")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ParserLimitReached as error:
        raise FormTooComplex(
            "The form has too many parts or headers, or too large ones."
        ) from error
    except MultipartError as error:
        raise BadForm("The form is malformed.") from error
