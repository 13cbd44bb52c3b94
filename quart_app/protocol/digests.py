"""Digest fields (RFC 9530)."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from quart_app.errors import BadDigest
from quart_app.protocol.fields import parse_dictionary

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_app.protocol.headers import Headers

__all__ = [
    "ALGORITHMS",
    "TrailingDigests",
    "announces_digests",
    "declared_digests",
    "parse_digests",
    "repr_digest",
]

#: Algorithm of RFC 9530, 5 to the name of its constructor in `hashlib`.
ALGORITHMS = MappingProxyType({"sha-256": "sha256", "sha-512": "sha512"})

_SIZES = {name: hashlib.new(function).digest_size for name, function in ALGORITHMS.items()}


def parse_digests(header: str | None) -> dict[str, bytes]:
    """Read `Content-Digest` or `Repr-Digest`; other algorithms are ignored (RFC 9530, 2 and 3).

    Returns:
        Algorithm, a key of `ALGORITHMS`, to digest.

    Raises:
        BadDigest: The field is malformed, or a digest is no digest of its algorithm.
    """
    try:
        members = parse_dictionary(header or "")
    except ValueError as error:
        raise BadDigest("The digest field is no dictionary of byte sequences.") from error
    digests: dict[str, bytes] = {}
    for name in ALGORITHMS.keys() & members.keys():
        value = members[name]
        if not isinstance(value, bytes) or len(value) != _SIZES[name]:
            raise BadDigest(f"The digest {name} takes {_SIZES[name]} bytes in base64.")
        digests[name] = value
    return digests


def declared_digests(headers: Headers) -> dict[str, bytes]:
    """Join `Content-Digest` and `Repr-Digest` of a request.

    Without a content coding or a range both fields describe the same bytes (RFC 9530, 1.2).

    Returns:
        Algorithm, a key of `ALGORITHMS`, to digest.

    Raises:
        BadDigest: One is malformed, or they contradict each other.
    """
    content = parse_digests(headers.get("Content-Digest"))
    representation = parse_digests(headers.get("Repr-Digest"))
    if content | representation != representation | content:
        raise BadDigest("Content-Digest and Repr-Digest contradict each other.")
    return content | representation


@dataclass(frozen=True, slots=True)
class TrailingDigests:
    """Digests that may follow a body in its trailer section (RFC 9110, 6.5).

    Attributes:
        fields: Returns the trailer fields, once the body has ended.
        announced: Whether the header section announces digests there.
    """

    fields: Callable[[], Headers]
    announced: bool

    def declared(self) -> dict[str, bytes]:
        """Return the digests once the body has ended; raises as `declared_digests` does."""
        return declared_digests(self.fields())


def announces_digests(trailer: str | None) -> bool:
    """Return whether a `Trailer` field (RFC 9110, 6.6.2) names a field of digests."""
    names = {name.strip().lower() for name in (trailer or "").split(",")}
    return not names.isdisjoint({"content-digest", "repr-digest"})


def repr_digest(sha256_hex: str) -> str:
    """Format `Repr-Digest` from a SHA-256 in hexadecimal digits (RFC 9530, 3)."""
    return f"sha-256=:{b64encode(bytes.fromhex(sha256_hex)).decode('ascii')}:"
