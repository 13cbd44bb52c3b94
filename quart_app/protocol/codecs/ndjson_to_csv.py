"""Lines of JSON into CSV (RFC 4180)."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, NoReturn

from quart_app.errors import BadRecord
from quart_app.protocol.codecs.contract import MAX_RECORD_LENGTH, OUTPUT_SIZE
from quart_app.protocol.text import TextDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NdjsonToCsv"]

#: White space of JSON (RFC 8259, 2), within a line.
_SPACE = " \t\r"

_ENCODE = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are no JSON


#: Numbers stay as they are written: 1.10 is a price.
_LITERAL = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse).decode
_DECODE = json.JSONDecoder(parse_constant=_refuse).decode


class NdjsonToCsv:
    """Turns objects into rows of the first one's members.

    A string stands as it is, a number as it was written, an array or object as JSON; null and a
    member that is missing give an empty field.

    Raises:
        BadRecord: A line is no object, has a member that the first has not, or is too long; the
            error names the line.
        NotText: The input is not UTF-8.
    """

    def __init__(self) -> None:
        self._text = TextDecoder()
        self._rest = ""
        self._columns: list[str] = []
        self._known: frozenset[str] = frozenset()
        self._line = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Convert the next bytes; see `Codec.feed`."""
        *lines, self._rest = (self._rest + self._text.decode(data)).split("\n")
        yield from self._rows(lines)
        if len(self._rest) > MAX_RECORD_LENGTH:
            longest = f"the line has more than {MAX_RECORD_LENGTH} characters"
            raise BadRecord(self._line + 1, longest)

    def flush(self) -> Iterator[bytes]:
        """Give nothing: whole lines are given as they come."""
        yield from ()

    def finish(self) -> Iterator[bytes]:
        """Give the last line, which may lack its line feed; see `Codec.finish`."""
        yield from self._rows([self._rest + self._text.decode(b"", final=True)])

    def _rows(self, lines: list[str]) -> Iterator[bytes]:
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        for line in lines:
            self._line += 1
            if line.strip(_SPACE):
                members = self._members(line)
                if not self._columns:
                    self._name(members)
                    writer.writerow(self._columns)
                writer.writerow(self._row(members, line))
            if out.tell() >= OUTPUT_SIZE:
                yield out.getvalue().encode()
                out.seek(0)
                out.truncate()
        if out.tell():
            yield out.getvalue().encode()

    def _name(self, members: dict[str, Any]) -> None:
        if not members:
            raise BadRecord(self._line, "the first object has no members")
        self._columns = list(members)
        self._known = frozenset(members)

    def _row(self, members: dict[str, Any], line: str) -> list[str]:
        if not members.keys() <= self._known:
            unknown = min(members.keys() - self._known)
            raise BadRecord(self._line, f"the first object has no member {unknown[:100]!r}")
        row = [members.get(column) for column in self._columns]
        if any(isinstance(value, dict | list) for value in row):
            whole = self._parsed(line, _DECODE)  # where numbers are numbers
            row = [
                whole[column] if isinstance(value, dict | list) else value
                for column, value in zip(self._columns, row, strict=True)
            ]
        return [value if type(value) is str else _field(value) for value in row]

    def _members(self, line: str) -> dict[str, Any]:
        members = self._parsed(line, _LITERAL)
        if not isinstance(members, dict):
            raise BadRecord(self._line, "it is no JSON object")
        if "\\u" in line:
            self._check_characters(members)
        return members

    def _parsed(self, line: str, decode: Any) -> Any:
        try:
            return decode(line)
        except (ValueError, RecursionError) as error:
            raise BadRecord(self._line, "it is no JSON") from error

    def _check_characters(self, members: dict[str, Any]) -> None:
        try:
            _ENCODE(members).encode()
        except UnicodeEncodeError as error:  # half of a pair, which UTF-8 cannot write
            raise BadRecord(self._line, "it has a character that Unicode does not") from error


def _field(value: object) -> str:
    return "" if value is None else _ENCODE(value)
