"""`multipart/form-data` as a pure stream of events (RFC 7578, RFC 2046, 5.1)."""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from quart_app.errors import BadForm, FormTooComplex
from quart_app.models import KIB, MIB
from quart_app.protocol.charsets import codec_of, decode
from quart_app.protocol.dispositions import disposition_parameters, form_text, parameter_text
from quart_app.protocol.headers import parameters

__all__ = ["Event", "FormLimits", "FormParser", "PartEnd", "PartHeader", "boundary_of"]

#: More than the alphabet and the 70 characters of RFC 2046, 5.1.1, as clients send both.
_BOUNDARY = re.compile(r"[ -~]{0,199}[!-~]")

#: The rest of a line that begins with the boundary: the end of the form, or white space and a line
#: break, or the beginning of either at the end of the data.
_REST = re.compile(rb"--|[ \t]{0,256}(?:\r?\n|\r?\Z)|-\Z")
#: The rest of the line of the last boundary.
_LAST_REST = re.compile(rb"[ \t]*\r?(?:\n|\Z)")

#: Encodings of a part's bytes that leave them as they are (RFC 2045, 6.2), and as clients write it.
_IDENTITY = {"", "7bit", "8bit", "binary", "7-bit", "8-bit", "utf-8", "utf8"}

#: The field that holds the charset of the others (RFC 7578, 4.6), and the bytes read of it.
_CHARSET_FIELD = "_charset_"
_CHARSET_SIZE = 64


@dataclass(frozen=True, slots=True)
class FormLimits:
    """Bounds on the memory that a form takes; files stream and are bounded elsewhere.

    Attributes:
        max_parts: Parts of a form.
        max_headers: Header fields of a part.
        max_header_size: Bytes of one header field.
        max_head_size: Bytes of all header fields of a part.
        max_field_size: Bytes of one plain field, its name included.
        max_fields_size: Bytes of all plain fields, their names included.
        max_margin_size: Bytes before the first boundary, and bytes after the last.
    """

    max_parts: int = 1000
    max_headers: int = 32
    max_header_size: int = 8 * KIB
    max_head_size: int = 16 * KIB
    max_field_size: int = 1 * MIB
    max_fields_size: int = 1 * MIB
    max_margin_size: int = 16 * KIB

    def for_passing(self) -> FormLimits:
        """Return bounds for a reader that passes parts and fields on without holding them."""
        return replace(
            self, max_parts=sys.maxsize, max_field_size=sys.maxsize, max_fields_size=sys.maxsize
        )


@dataclass(frozen=True, slots=True)
class PartHeader:
    """A part begins.

    Attributes:
        name: Name of the form field; empty for a file without one.
        filename: Untrusted file name, `filename*` first; None for a plain field, empty where a
            browser sends a file field that was left empty.
        media_type: The part's `Content-Type` as sent, or None.
        headers: Header fields by name in title case, the first of several with one name.
        codec: Python codec of the text of a plain field.
    """

    name: str
    filename: str | None
    media_type: str | None
    headers: Mapping[str, str]
    codec: str = "utf_8"

    def text(self, content: bytes) -> str:
        """Return the text of a plain field (RFC 7578, 4.6 and 5.1.2).

        Raises:
            BadForm: The content is not text in the charset of the part, of the form, or UTF-8.
        """
        try:
            return content.decode(self.codec)
        except UnicodeDecodeError as error:
            raise BadForm("A field is not text in its charset.") from error


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part is complete."""


#: For each part a `PartHeader`, its content in pieces, and a `PartEnd`.
Event: TypeAlias = PartHeader | bytes | PartEnd

#: Steps of the parser: events, and None where more data is needed.
_Steps: TypeAlias = Generator[Event | None, None, None]


def boundary_of(content_type: str) -> str:
    """Return the boundary from the `Content-Type` of a form (RFC 2046, 5.1.1).

    Raises:
        BadForm: The type is not `multipart/form-data`, or its boundary is missing or not valid.
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

    The parser holds less than a line of content, or the header of one part, or the margin before
    or after the parts.

    The first boundary decides whether line breaks are CRLF or, as some clients send, bare line
    feeds. A line that only begins like a boundary is content. The form ends with `--` behind a
    boundary, and with nothing else: a form that lacks it is truncated.
    """

    def __init__(self, boundary: str, limits: FormLimits | None = None) -> None:
        self._limits = limits or FormLimits()
        self._mark = b"--" + boundary.encode("ascii")
        self._break = b"\r\n"
        self._data = b""
        self._at = 0  # where the bytes begin that no event has covered
        self._steps = self._read()
        self._closed = False
        self._codec: str | None = None  # of fields and names that declare none
        self._fields_size = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Return the events of the next piece; read them to the end before the next `feed`.

        Raises:
            BadForm: The form is malformed, or too much surrounds its parts.
            FormTooComplex: The form passes a limit.
        """
        if not data:
            return
        self._data = self._data[self._at :] + data if self._at < len(self._data) else data
        self._at = 0
        while (event := next(self._steps)) is not None:
            yield event

    def finish(self) -> None:
        """End the form.

        Raises:
            BadForm: The form is not complete.
        """
        if not self._closed:
            raise BadForm("The form ends before its closing boundary.")

    def _read(self) -> _Steps:
        yield from self._preamble()
        parts = 0
        while not self._closed:
            parts += 1
            if parts > self._limits.max_parts:
                raise FormTooComplex("The form has too many parts.")
            yield from self._part()
        yield from self._epilogue()

    def _preamble(self) -> _Steps:
        """Pass over everything before the first boundary, which decides on the line breaks."""
        search = 0
        while True:
            index = self._data.find(self._mark, search)
            if max(index, len(self._data) if index < 0 else 0) > self._limits.max_margin_size:
                raise BadForm("The form does not begin with its boundary.")
            rest = _REST.match(self._data, index + len(self._mark)) if index >= 0 else None
            if index >= 0 and rest is None:  # the beginning of a longer line
                search = index + 1
            elif rest is not None and _is_whole(rest[0]):
                break
            else:
                search = max(0, len(self._data) - len(self._mark)) if index < 0 else index
                yield None
        if self._data[index - 1 : index] not in {b"", b"\n"}:  # to pass over it loses a part
            raise BadForm("The first boundary is not at the beginning of a line.")
        if rest[0].endswith(b"\n") and not rest[0].endswith(b"\r\n"):
            self._break = b"\n"
        self._pass_boundary(rest)

    def _pass_boundary(self, rest: re.Match[bytes]) -> None:
        self._at, self._closed = rest.end(), rest[0] == b"--"

    def _part(self) -> _Steps:
        header = yield from self._head()
        yield header
        size = len(header.name.encode(errors="replace"))
        charset = bytearray()
        is_field, names_charset = header.filename is None, header.name == _CHARSET_FIELD
        if is_field:
            self._charge(size, size)
        for event in self._content():
            if event and is_field:
                size += len(event)
                self._charge(len(event), size)
                if names_charset:
                    charset += event[:_CHARSET_SIZE]
            yield event
        if is_field and names_charset:
            self._codec = codec_of(charset[:_CHARSET_SIZE].decode("latin_1"))
        yield PartEnd()

    def _charge(self, size: int, field_size: int) -> None:
        self._fields_size += size
        if field_size > self._limits.max_field_size:
            raise FormTooComplex("A field of the form is too large.")
        if self._fields_size > self._limits.max_fields_size:
            raise FormTooComplex("The fields of the form are too large.")

    def _head(self) -> Generator[None, None, PartHeader]:
        fields: list[tuple[str, bytes]] = []
        size = 0
        while line := (yield from self._line()):
            if line[0] in b" \t" and fields and not line.isspace():  # folded (RFC 822, 3.1.1)
                name, value = fields.pop()
                fields.append((name, value + b" " + line.strip()))
            else:
                fields.append(_header_field(line))
            size += len(line)
            if size > self._limits.max_head_size or len(fields) > self._limits.max_headers:
                raise FormTooComplex("A part of the form has too many headers, or too large ones.")
        return self._header(fields)

    def _line(self) -> Generator[None, None, bytes]:
        """Return the next line of a header; leave the line break of an empty one."""
        searched = 0
        while True:
            end = self._data.find(b"\n", self._at + searched)
            line = self._data[self._at : end if end >= 0 else None]
            if len(line.removesuffix(b"\r")) > self._limits.max_header_size:
                raise FormTooComplex("A header of the form is too large.")
            if end >= 0:
                break
            searched = len(line)
            yield None
        if self._break == b"\r\n" and not line.endswith(b"\r"):
            raise BadForm("A header of the form has a line break that is not CRLF.")
        line = line.removesuffix(b"\r")
        self._at = end + 1 if line else end + 1 - len(self._break)
        return line

    def _header(self, fields: list[tuple[str, bytes]]) -> PartHeader:
        codec = None if (self._codec or "").startswith("utf_16") else self._codec
        headers: dict[str, str] = {}
        for title, value in fields:
            if title == "Content-Disposition" and title in headers:
                raise BadForm("A part has more than one Content-Disposition.")
            headers.setdefault(title, decode(value, codec))
        found = disposition_parameters(headers.get("Content-Disposition", ""))
        filename = parameter_text(found, "filename", form_text)
        name = parameter_text(found, "name", form_text)
        if name is None and filename is None:
            raise BadForm("A part has no Content-Disposition with a name.")
        media_type = headers.get("Content-Type")
        _refuse_encoded(headers, is_field=filename is None)
        declared = codec_of(parameters(media_type or "")[1].get("charset"))
        text_codec = declared or self._codec or "utf_8"
        return PartHeader(name or "", filename, media_type, headers, text_codec)

    def _content(self) -> Generator[bytes | None, None, None]:
        """Return the content up to a boundary.

        The line break before the content is still there: the line break of an empty part may be
        missing, and then the boundary follows the header at once.
        """
        delimiter = self._break + self._mark
        skipped, searched = len(self._break), 0
        while True:
            index = self._data.find(delimiter, self._at + searched)
            rest = _REST.match(self._data, index + len(delimiter)) if index >= 0 else None
            if index >= 0 and rest is None:  # the beginning of a longer line
                searched = index + len(delimiter) - self._at
                continue
            end = index if index >= 0 else self._end_without(delimiter, self._at + searched)
            if end > self._at + skipped:
                yield self._data[self._at + skipped : end]
                self._at, skipped = end, 0
            if rest is not None and _is_whole(rest[0]):
                self._pass_boundary(rest)
                return
            searched = 0
            yield None

    def _end_without(self, delimiter: bytes, start: int) -> int:
        """Return where the bytes end that cannot belong to a delimiter."""
        index = self._data.rfind(delimiter[:1], max(start, len(self._data) - len(delimiter) + 1))
        return index if delimiter.startswith(self._data[index:]) and index >= 0 else len(self._data)

    def _epilogue(self) -> _Steps:
        """Pass over everything after the last boundary, but for more parts."""
        while True:
            after = self._data[self._at :]
            if not _LAST_REST.match(after):
                raise BadForm("The line of the closing boundary has other data.")
            if b"\n" + self._mark in after:
                raise BadForm("The form is followed by more parts.")
            if len(after) > self._limits.max_margin_size:
                raise BadForm("The form is followed by other data.")
            yield None


def _is_whole(rest: bytes) -> bool:
    """Return whether the rest of a line with a boundary has arrived."""
    return rest == b"--" or rest.endswith(b"\n")


def _header_field(line: bytes) -> tuple[str, bytes]:
    """Split a header field of a part; RFC 7578, 4.8 has most fields ignored."""
    name, colon, value = line.partition(b":")
    title = name.decode("latin_1").strip().title()
    if not colon or not title or name[0] in b" \t":
        raise BadForm("A header of the form is malformed.")
    return title, value.strip()


def _refuse_encoded(headers: Mapping[str, str], *, is_field: bool) -> None:
    """Refuse parts whose bytes are not those of the file (RFC 7578, 4.3 and 4.7)."""
    if headers.get("Content-Transfer-Encoding", "").strip().lower() not in _IDENTITY:
        raise BadForm("A part has a Content-Transfer-Encoding.")
    if is_field and headers.get("Content-Type", "").lower().startswith("multipart/mixed"):
        raise BadForm("A part holds parts; send each file as a part of its own.")
