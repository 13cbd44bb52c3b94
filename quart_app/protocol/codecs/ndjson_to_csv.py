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

_TOO_DEEP = "it is nested too deeply"

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and Infinity are no JSON


class _Number(str):
    """A number as it is written: 1.10 is a price, and 1e400 no infinity."""

    __slots__ = ()


class _RepeatedName(Exception):
    """Of two members of one name one would be lost (RFC 8259, 4)."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise _RepeatedName
    return members


_DECODE = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_Number, parse_float=_Number, parse_constant=_refuse
).decode


class NdjsonToCsv:
    """Turns objects into rows of the first one's members.

    A string stands as it is, a number as it was written, an array or object as JSON; null and a
    member that is missing give an empty field.

    Raises:
        BadRecord: A line is no object, has a member that the first has not or two of one name, is
            nested too deeply, or is too long; the error names the line.
        NotText: The input is not UTF-8.
    """

    def __init__(self) -> None:
        self._text = TextDecoder()
        self._rest = io.StringIO(newline="")  # grows without being copied for each piece
        self._columns: list[str] = []
        self._known: frozenset[str] = frozenset()
        self._line = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Convert the next bytes; see `Codec.feed`."""
        ended, line_feed, rest = self._text.decode(data).rpartition("\n")
        if line_feed:
            self._rest.write(ended)
            lines = self._rest.getvalue().split("\n")
            self._rest = io.StringIO(newline="")
            yield from self._rows(lines)
        self._rest.write(rest)
        _check_length(self._line + 1, self._rest.tell())

    def flush(self) -> Iterator[bytes]:
        """Give nothing: whole lines are given as they come."""
        yield from ()

    def finish(self) -> Iterator[bytes]:
        """Give the last line, which may lack its line feed; see `Codec.finish`."""
        yield from self._rows([self._rest.getvalue() + self._text.decode(b"", final=True)])

    def _rows(self, lines: list[str]) -> Iterator[bytes]:
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        for line in lines:
            self._line += 1
            _check_length(self._line, len(line))
            if line.strip(_SPACE):
                members = self._parsed(line)
                if not self._columns:
                    self._name(members)
                    writer.writerow(self._columns)
                writer.writerow(self._row(members))
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

    def _row(self, members: dict[str, Any]) -> list[str]:
        if not members.keys() <= self._known:
            unknown = min(members.keys() - self._known)
            raise BadRecord(self._line, f"the first object has no member {unknown[:100]!r}")
        try:
            return [_field(members.get(column)) for column in self._columns]
        except RecursionError as error:
            raise BadRecord(self._line, _TOO_DEEP) from error

    def _parsed(self, line: str) -> dict[str, Any]:
        try:
            members = _DECODE(line)
            if "\\u" in line:
                _ENCODE(members).encode()
        except _RepeatedName as error:
            raise BadRecord(self._line, "an object has two members of the same name") from error
        except RecursionError as error:
            raise BadRecord(self._line, _TOO_DEEP) from error
        except UnicodeEncodeError as error:  # half of a pair, which UTF-8 cannot write
            raise BadRecord(self._line, "it has a character that Unicode does not") from error
        except ValueError as error:
            raise BadRecord(self._line, "it is no JSON") from error
        if not isinstance(members, dict):
            raise BadRecord(self._line, "it is no JSON object")
        return members


def _check_length(line: int, length: int) -> None:
    if length > MAX_RECORD_LENGTH:
        raise BadRecord(line, f"the line has more than {MAX_RECORD_LENGTH} characters")


def _field(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else _json(value)


def _json(value: Any) -> str:
    """Write a value; `json` would put numbers in quotes, or change them."""
    if isinstance(value, _Number):
        return value
    if isinstance(value, list):
        return f"[{','.join(map(_json, value))}]"
    if isinstance(value, dict):
        members = (f"{_ENCODE(name)}:{_json(member)}" for name, member in value.items())
        return f"{{{','.join(members)}}}"
    return _ENCODE(value)
