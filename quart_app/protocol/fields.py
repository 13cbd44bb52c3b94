"""Structured field values (RFC 9651, 4.2): items, and dictionaries of items.

Parameters are checked and dropped; inner lists, dates and display strings are refused, as no
field of this service has them.
"""

from __future__ import annotations

import re
from base64 import b64decode
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BareItem", "Token", "parse_dictionary", "parse_item"]


class Token(str):
    """A bare word (RFC 9651, 3.3.4), told apart from a quoted string."""

    __slots__ = ()


BareItem: TypeAlias = bool | int | Decimal | str | Token | bytes

# Each alternative is as greedy as its type allows: what it leaves over is refused by the caller.
_BARE_ITEM = re.compile(
    r"""  (?P<decimal>-?[0-9]{1,12}\.[0-9]{1,3})
        | (?P<integer>-?[0-9]{1,15})
        | "(?P<string>(?:[\ !#-\[\]-~]|\\["\\])*)"
        | (?P<token>[A-Za-z*][!#$%&'*+\-.^_`|~:/0-9A-Za-z]*)
        | :(?P<binary>[A-Za-z0-9+/=]*):
        | \?(?P<boolean>[01])""",
    re.VERBOSE,
)
_KEY = re.compile(r"[a-z*][a-z0-9_\-.*]*")
_PARAMETER = re.compile(rf"; *{_KEY.pattern}(=?)")
_COMMA = re.compile(r"[ \t]*,[ \t]*(?=.)")
_ESCAPED = re.compile(r"\\(.)")


def _bytes(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), validate=True)


_VALUE: dict[str | None, Callable[[str], BareItem]] = {
    "decimal": Decimal,
    "integer": int,
    "string": lambda text: _ESCAPED.sub(r"\1", text),
    "token": Token,
    "binary": _bytes,
    "boolean": "1".__eq__,
}


def parse_item(text: str) -> BareItem:
    """Read a field that is one item, as in `Upload-Complete: ?1` (RFC 9651, 4.2.3).

    Raises:
        ValueError: It is none.
    """
    text = text.strip(" ")
    value, end = _item(text, 0)
    if end != len(text):
        raise ValueError("There is something after the item.")
    return value


def parse_dictionary(text: str) -> dict[str, BareItem]:
    """Read a field that is a dictionary of items (RFC 9651, 4.2.2).

    A key without a value is true; of twins the last counts.

    Raises:
        ValueError: It is none, or has an inner list.
    """
    text = text.strip(" ")
    members: dict[str, BareItem] = {}
    at = 0
    while at < len(text):
        key, at = _match(_KEY, text, at)
        if text.startswith("=", at):
            members[key], at = _item(text, at + 1)
        else:
            members[key], at = True, _parameters(text, at)
        if at < len(text):
            _, at = _match(_COMMA, text, at)
    return members


def _match(pattern: re.Pattern[str], text: str, at: int) -> tuple[str, int]:
    if match := pattern.match(text, at):
        return match[0], match.end()
    raise ValueError(f"Malformed at character {at}.")


def _item(text: str, at: int) -> tuple[BareItem, int]:
    value, at = _bare_item(text, at)
    return value, _parameters(text, at)


def _bare_item(text: str, at: int) -> tuple[BareItem, int]:
    match = _BARE_ITEM.match(text, at)
    if match is None or match.lastgroup is None:
        raise ValueError(f"No item at character {at}.")
    return _VALUE[match.lastgroup](match[match.lastgroup]), match.end()


def _parameters(text: str, at: int) -> int:
    while parameter := _PARAMETER.match(text, at):
        at = parameter.end()
        if parameter[1]:
            _, at = _bare_item(text, at)
    return at
