"""Which header fields pass on, and which way (RFC 9110, 7.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Fields", "answer_of_origin", "answer_of_target", "request_to_origin",
           "request_to_target", "value_of"]  # fmt: skip

#: Header fields in their order, with all their lines.
Fields: TypeAlias = "list[tuple[str, str]]"

#: What belongs to one connection (RFC 9110, 7.6.1), with what old proxies add to it.
HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authentication-info",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip

#: What asks for a file: form, part, conditions. Cookies and credentials are for this service.
REQUEST_TO_ORIGIN = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "if-match", "if-modified-since",
        "if-none-match", "if-range", "if-unmodified-since", "range", "want-content-digest",
        "want-repr-digest",
    }
)  # fmt: skip

#: What describes a file. Anything else would speak in the name of this service: set cookies, ask
#: for passwords, loosen its policies, or have nginx send a file (`X-Accel-Redirect`).
ANSWER_OF_ORIGIN = frozenset(
    {
        "accept-ranges", "age", "cache-control", "content-digest", "content-disposition",
        "content-encoding", "content-language", "content-length", "content-range", "content-type",
        "etag", "expires", "last-modified", "repr-digest", "retry-after", "vary",
    }
)  # fmt: skip

#: What is made anew, is for this service, or would make a target trust what a client says of its
#: own address.
NOT_TO_TARGET = frozenset(
    {
        "cf-connecting-ip", "content-length", "cookie", "expect", "forwarded", "host",
        "remote-addr", "true-client-ip", "via", "x-client-ip", "x-cluster-client-ip", "x-real-ip",
    }
)  # fmt: skip
NOT_TO_TARGET_PREFIXES = ("x-forwarded-",)

#: Orders to the server in front of this one.
NOT_FROM_TARGET_PREFIXES = ("x-accel-", "x-sendfile")


def value_of(fields: Iterable[tuple[str, str]], wanted: str) -> str | None:
    """Give the value of a field, several lines joined as one (RFC 9110, 5.3), or None."""
    return ", ".join([value for name, value in fields if name.lower() == wanted]) or None


def request_to_origin(fields: Fields) -> Fields:
    """Choose what of a client's request goes to the server of a URL that it gave."""
    return [field for field in _end_to_end(fields) if field[0].lower() in REQUEST_TO_ORIGIN]


def answer_of_origin(fields: Fields) -> Fields:
    """Choose what of that server's answer goes to the client."""
    return [field for field in _framed_once(fields) if field[0].lower() in ANSWER_OF_ORIGIN]


def request_to_target(fields: Fields) -> Fields:
    """Choose what of a client's request goes to a server that the operator has configured."""
    return [
        (name, value)
        for name, value in _end_to_end(fields)
        if (key := _variable(name)) not in NOT_TO_TARGET
        and not key.startswith(NOT_TO_TARGET_PREFIXES)
    ]


def _variable(name: str) -> str:
    """Spell a name as CGI and WSGI have it, which tell no underscore from a hyphen."""
    return name.lower().replace("_", "-")


def answer_of_target(fields: Fields) -> Fields:
    """Choose what of that server's answer goes to the client."""
    return [
        (name, value)
        for name, value in _framed_once(fields)
        if not name.lower().startswith(NOT_FROM_TARGET_PREFIXES)
    ]


def _end_to_end(fields: Fields) -> Fields:
    named = value_of(fields, "connection") or ""
    dropped = HOP_BY_HOP | {name.strip().lower() for name in named.split(",")}
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def _framed_once(fields: Fields) -> Fields:
    """Drop a length that a transfer coding overrides (RFC 9112, 6.3), and what is hop by hop."""
    passed = _end_to_end(fields)
    made_anew = {"date"}  # our own server dates its answers
    if value_of(fields, "transfer-encoding") is not None:
        made_anew.add("content-length")
    return [field for field in passed if field[0].lower() not in made_anew]
