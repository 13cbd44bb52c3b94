"""CSV (RFC 4180) into lines of JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING

from quart_app.errors import BadRecord
from quart_app.protocol.codecs.contract import MAX_RECORD_LENGTH, OUTPUT_SIZE
from quart_app.protocol.text import TextDecoder

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CsvToNdjson"]

# The csv module has one limit for the whole process, of 128 KiB; here the row is limited.
csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_LENGTH))

# The grammar of RFC 4180, 2, line feeds alone let pass. Nothing in it goes back (`+` after a
# quantifier), so it takes linear time on any text.
_FIELD = r'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\r\n]*+)'
_ROWS = re.compile(rf"(?:(?:{_FIELD},)*+{_FIELD}\r?\n)*+")
_BEGINNING = re.compile(rf'(?:{_FIELD},)*+(?:"[^"]*+(?:""[^"]*+)*+"?|[^",\r\n]*+)\r?')

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


class CsvToNdjson:
    """Turns rows into objects of strings, named by the first row; empty lines are passed over.

    Raises:
        BadRecord: A row has more or fewer fields than the first, a quote is out of place, two
            columns have one name, or a row is too long; the error names the line.
        NotText: The input is not UTF-8.
    """

    def __init__(self) -> None:
        self._text = TextDecoder()
        self._rest = ""
        self._columns = 0
        self._template = ""
        self._line = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Convert the next bytes; see `Codec.feed`."""
        text = self._rest + self._text.decode(data)
        end = _end_of_rows(text)
        self._rest = text[end:]
        yield from self._objects(text[:end])
        if not _BEGINNING.fullmatch(self._rest):
            raise BadRecord(self._line, "a quote or a carriage return is out of place")
        if len(self._rest) > MAX_RECORD_LENGTH:
            raise BadRecord(self._line, f"the row has more than {MAX_RECORD_LENGTH} characters")

    def flush(self) -> Iterator[bytes]:
        """Give nothing: whole rows are given as they come."""
        yield from ()

    def finish(self) -> Iterator[bytes]:
        """Give the last row, which may lack its line break; see `Codec.finish`."""
        last = self._rest + self._text.decode(b"", final=True)
        if last and not _ROWS.fullmatch(last + "\n"):
            raise BadRecord(self._line, "a quote is not closed")
        yield from self._objects(last)

    def _objects(self, text: str) -> Iterator[bytes]:
        begin = self._line
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        out: list[str] = []
        size = 0
        for row in rows:
            if row and not self._columns:
                self._name(row)
            elif row:
                out.append(self._object(row))
                size += len(out[-1])
            if size >= OUTPUT_SIZE:
                yield "".join(out).encode()
                out, size = [], 0
            self._line = begin + rows.line_num
        if out:
            yield "".join(out).encode()

    def _name(self, row: list[str]) -> None:
        if len(set(row)) < len(row):
            raise BadRecord(self._line, "two columns have the same name")
        members = [_ENCODE(name).replace("%", "%%") + ":%s" for name in row]
        self._template = "{" + ",".join(members) + "}\n"
        self._columns = len(row)

    def _object(self, row: list[str]) -> str:
        if len(row) != self._columns:
            counts = f"{len(row)} fields where the first row has {self._columns}"
            raise BadRecord(self._line, counts)
        return self._template % tuple(map(_ENCODE, row))


def _end_of_rows(text: str) -> int:
    """Find where the last whole row ends; between quotes, a line break belongs to a field."""
    if '"' not in text and "\r" not in text:
        return text.rfind("\n") + 1
    whole = _ROWS.match(text)
    return whole.end() if whole else 0
