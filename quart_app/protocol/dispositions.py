"""`Content-Disposition` as clients write it: RFC 6266, RFC 7578, HTML, and none of these."""

from __future__ import annotations

import re
from bisect import bisect_left
from email.errors import MessageError
from email.header import decode_header
from itertools import count, takewhile
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from quart_app.protocol.charsets import codec_of, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["disposition_parameters", "form_text", "parameter_text"]

_NAME = re.compile(r";\s*([^\s=;\"]+)[^\S\n]*(=?)\s*")
_QUOTED = re.compile(r'(?:[^"\\]|\\.)*+', re.DOTALL)
#: A quote that can end a quoted value: a parameter or the end of the field follows it.
_CLOSING = re.compile(r'"(?=\s*(?:;|\Z))')
_ESCAPED = re.compile(r'\\(["\\])')
#: The beginning of a file name inside a quoted value that lacks its end.
_SWALLOWED = re.compile(r";\s*filename\*?\s*=", re.IGNORECASE)

_EXTENDED = re.compile(
    r"([A-Za-z0-9][\w.:\-]*)'[^']*'((?:[!-$&-~]|%[0-9A-F]{2})*)", re.ASCII | re.IGNORECASE
)
_ENCODED_WORDS = re.compile(r"(?:\s*=\?[^?\s]+\?[bq]\?[^?]*\?=)++\s*", re.ASCII | re.IGNORECASE)


def disposition_parameters(field: str) -> dict[str, str]:
    """Read the parameters of `Content-Disposition`, in linear time and whatever the field holds.

    - An unquoted value extends to the next `;` and may hold spaces, parentheses and slashes.
    - A quoted value ends at a quote that a `;` or the end of the field follows, so quotes inside
      are read as they are.
    - A backslash escapes quotes (RFC 9110, 5.6.4) where the value holds an escaped quote and its
      end is found in that way. Elsewhere it is a backslash, as browsers send it.
    - A quoted value without an end does not hide a file name that follows it.

    Returns:
        The values by lower-case name, the first of several with one name; empty for a parameter
        without a value.
    """
    closings = [match.start() for match in _CLOSING.finditer(field)]
    found: dict[str, str] = {}
    at = field.find(";")
    while at >= 0:
        if name := _NAME.match(field, at):
            value, at = _value(field, name.end(), closings) if name[2] else ("", name.end())
            found.setdefault(name[1].lower(), value)
        else:
            at += 1
        at = field.find(";", at)
    return found


def _value(field: str, at: int, closings: Sequence[int]) -> tuple[str, int]:
    """Return the value that begins at a position, and the position of its end."""
    if not field.startswith('"', at):
        end = _end_of_plain(field, at)
        return field[at:end].strip(), end
    start = at + 1
    index = bisect_left(closings, start)
    if index == len(closings):
        end = _end_of_plain(field, start)
        return field[start:end].strip(), end
    quoted = _QUOTED.match(field, start)
    end = quoted.end() if quoted else start
    exact = bisect_left(closings, end)
    if exact == len(closings) or closings[exact] != end:
        end = closings[index]
        if swallowed := _SWALLOWED.search(field, start, end):
            return field[start : swallowed.start()].rstrip('" '), swallowed.start()
    value = field[start:end]
    return _ESCAPED.sub(r"\1", value) if '\\"' in value else value, end + 1


def _end_of_plain(field: str, at: int) -> int:
    end = field.find(";", at)
    return len(field) if end < 0 else end


def parameter_text(
    found: Mapping[str, str], name: str, decoded: Callable[[str], str] = str
) -> str | None:
    """Return the text of a parameter, its extended form first, or None where there is none.

    An extended value that is malformed gives way to the plain one. Without a plain one the
    extended value is read as far as possible.

    Args:
        found: Parameters as `disposition_parameters` returns them.
        name: The parameter without `*`.
        decoded: Decodes a plain value.
    """
    extended = found.get(f"{name}*")
    if extended is not None and (text := _extended(extended)) is not None:
        return text
    if (plain := found.get(name)) is not None and (plain or not extended):
        return _words(decoded(plain))
    if extended is None:
        extended = _continued(found, name)
    if extended is None:
        return None
    text = _extended(extended)
    return decode(unquote_to_bytes(extended.rpartition("'")[2])) if text is None else text


def _extended(value: str) -> str | None:
    """Decode an extended value (RFC 8187, 3.2), or return None where it is malformed."""
    match = _EXTENDED.fullmatch(value)
    codec = codec_of(match[1]) if match else None
    if match is None or codec is None:
        return None
    try:
        return unquote_to_bytes(match[2]).decode(codec)
    except UnicodeDecodeError:
        return None


def _continued(found: Mapping[str, str], name: str) -> str | None:
    """Join a value that is split over several parameters (RFC 2231, 3), or return None."""
    keys = (f"{name}*{number}" for number in count())
    pieces = (found.get(key, found.get(f"{key}*")) for key in keys)
    joined = [piece for piece in takewhile(lambda piece: piece is not None, pieces) if piece]
    return "".join(joined) if f"{name}*0" in found or f"{name}*0*" in found else None


def _words(text: str) -> str:
    """Decode a value of encoded words (RFC 2047, 2), as mail libraries write names."""
    if not _ENCODED_WORDS.fullmatch(text):
        return text
    try:
        words = decode_header(text)
    except (MessageError, ValueError):
        return text
    return "".join(
        decode(word, codec_of(charset)) if isinstance(word, bytes) else word
        for word, charset in words
    )


def form_text(value: str) -> str:
    """Decode the three characters that browsers encode in names (HTML, 4.10.21.8)."""
    if "%" not in value:
        return value
    return re.sub("%(22|0D|0A)", lambda match: chr(int(match[1], 16)), value, flags=re.IGNORECASE)
