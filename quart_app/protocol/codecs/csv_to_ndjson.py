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

# The csv module has one limit for the whole process, of 128 KiB; here the row is limited. Neither
# this nor a quote can fail in it: it is given whole rows that fit the grammar.
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
        self._rest = io.StringIO(newline="")  # grows without being copied for each piece
        self._quoted = False  # whether the rest ends within quotes
        self._columns = 0
        self._template = ""
        self._line = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Convert the next bytes; see `Codec.feed`."""
        for start in range(0, len(data), MAX_RECORD_LENGTH):
            # Of a slice so long and what is left from before, only the first row can be too long.
            text = self._text.decode(data[start : start + MAX_RECORD_LENGTH])
            end = self._end_of_rows(text)
            if end:
                self._rest.write(text[:end])
                rows = self._rest.getvalue()
                self._rest = io.StringIO(newline="")
                yield from self._whole_rows(rows)
            self._rest.write(text[end:])
            if self._rest.tell() > MAX_RECORD_LENGTH:
                self._check_beginning(self._rest.getvalue())

    def flush(self) -> Iterator[bytes]:
        """Give nothing, as whole rows are given as they come; a wrong beginning is told."""
        self._check_beginning(self._rest.getvalue())
        yield from ()

    def finish(self) -> Iterator[bytes]:
        """Give the last row, which may lack its line break; see `Codec.finish`."""
        last = self._rest.getvalue() + self._text.decode(b"", final=True)
        self._check_beginning(last)
        if last and not _ROWS.fullmatch(last + "\n"):
            raise BadRecord(self._line, "a quote is not closed")
        yield from self._objects(last)

    def _end_of_rows(self, text: str) -> int:
        """Find the last line break that is not between quotes, as far as their number tells.

        No row that is sound ends elsewhere, and no character is looked at again as more comes.
        """
        self._quoted ^= bool(text.count('"') % 2)
        quoted, end = self._quoted, len(text)
        while end > 0:
            quote = text.rfind('"', 0, end)
            line_feed = -1 if quoted else text.rfind("\n", quote + 1, end)
            if line_feed >= 0:
                return line_feed + 1
            quoted, end = not quoted, quote
        return 0

    def _whole_rows(self, text: str) -> Iterator[bytes]:
        """Convert what ends with a row, unless there is something wrong with it."""
        if len(text) > MAX_RECORD_LENGTH:
            self._check_length(text)
        end = len(text)
        if '"' in text or "\r" in text:
            sound = _ROWS.match(text)
            end = sound.end() if sound else 0
        yield from self._objects(text[:end])
        self._check_beginning(text[end:])

    def _check_beginning(self, text: str) -> None:
        """See that there may be a row of this beginning."""
        self._check_length(text)
        if not _BEGINNING.fullmatch(text):
            raise BadRecord(self._line, "a quote or a carriage return is out of place")

    def _check_length(self, text: str) -> None:
        row = _BEGINNING.match(text)
        if row and row.end() > MAX_RECORD_LENGTH:
            raise BadRecord(self._line, f"the row has more than {MAX_RECORD_LENGTH} characters")

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
