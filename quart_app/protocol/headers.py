"""What header fields share: their look-up, and the form `value; name=value` (RFC 9110, 5.6)."""

from __future__ import annotations

import re
from typing import Protocol

from quart_app.protocol.charsets import decode

__all__ = ["QUOTED_STRING", "TOKEN", "Headers", "as_utf8", "is_coded", "parameters"]

#: Pattern of a token (RFC 9110, 5.6.2).
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 -- a word of the grammar, no secret
#: Pattern of a quoted string in printable ASCII (RFC 9110, 5.6.4).
QUOTED_STRING = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'

_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;]*))', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Headers(Protocol):
    """Header fields as every framework has them, and a dictionary too."""

    def get(self, name: str, /) -> str | None:
        """Return the value of the field called `name`, or None."""


def is_coded(content_encoding: str | None) -> bool:
    """Tell whether a `Content-Encoding` makes other bytes of a body than its own."""
    codings = {coding.strip().lower() for coding in (content_encoding or "").split(",")}
    return bool(codings - {"identity", ""})


def as_utf8(field: str) -> str:
    """Return a field that the server has read as ISO-8859-1 in the encoding of the client.

    The encoding is UTF-8, or else the code page of Western Windows.
    """
    try:
        return decode(field.encode("iso-8859-1"))
    except UnicodeEncodeError:
        return field


def parameters(header: str) -> tuple[str, dict[str, str]]:
    """Split a field into its value and its parameters, in linear time and whatever it holds.

    An unquoted value may be more than a token (`filename=my file.txt`), as many clients send.

    Args:
        header: The field, as in `form-data; name="a"` (RFC 9110, 5.6.6).

    Returns:
        The value in lower case, and the parameters by lower-case name; of twins the first.
    """
    value, semicolon, rest = header.partition(";")
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(semicolon + rest):
        found.setdefault(name.lower(), _ESCAPED.sub(r"\1", quoted) or plain.strip())
    return value.strip().lower(), found
