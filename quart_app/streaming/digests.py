"""Hashing beside writing: while one thread writes a piece, another hashes it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from quart_app.errors import BadDigest, DigestMismatch
from quart_app.models import KIB
from quart_app.protocol.digests import ALGORITHMS
from quart_app.streaming.threads import finished, settled, start_in_thread

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping

    from quart_app.protocol.digests import TrailingDigests
    from quart_app.streaming.pieces import Piece

__all__ = ["HASH_INLINE_SIZE", "Digests", "verified"]

#: Up to here (40 µs of SHA-256) hashing costs the loop less than handing it to a thread.
HASH_INLINE_SIZE = 64 * KIB


class Digests:
    """Counts and hashes pieces as they pass.

    Args:
        algorithms: Algorithms to compute, by names in RFC 9530 such as `sha-256`.
        declared: Digests that the bytes must have, by the same names.
        trailing: Digests that may follow the bytes; announced ones have all algorithms computed.

    Attributes:
        size: Bytes seen so far.
    """

    def __init__(
        self,
        *algorithms: str,
        declared: Mapping[str, bytes] | None = None,
        trailing: TrailingDigests | None = None,
    ) -> None:
        self.size = 0
        self._declared = declared or {}
        self._trailing = trailing
        announced = ALGORITHMS if trailing is not None and trailing.announced else ()
        self._hashes = {
            name: hashlib.new(ALGORITHMS[name], usedforsecurity=False)
            for name in {*algorithms, *self._declared, *announced}
        }

    async def watch(self, pieces: AsyncIterable[Piece]) -> AsyncGenerator[Piece]:
        """Pass pieces on, each hashed while its receiver works on it."""
        job: asyncio.Future[None] | None = None
        try:
            async for piece in pieces:
                if job is not None:
                    await finished(job)
                    job = None
                size = sum(map(len, piece))
                self.size += size
                if size > HASH_INLINE_SIZE:
                    job = start_in_thread(self.update, piece)
                else:
                    self.update(piece)
                yield piece
            if job is not None:
                await finished(job)
        finally:
            await settled(job)

    def update(self, piece: Piece) -> None:
        """Hash a piece at once, in this thread."""
        for digest in self._hashes.values():
            for chunk in piece:
                digest.update(chunk)

    def digest(self, algorithm: str) -> bytes:
        """Return the digest of all that passed; call it once the pieces have ended."""
        return self._hashes[algorithm].digest()

    def verify(self) -> None:
        """Compare with the digests before and behind the bytes; call it once the pieces have ended.

        Raises:
            DigestMismatch: A digest differs.
            BadDigest: A digest behind the bytes is malformed, or its algorithm was not computed.
        """
        self._compare(self._declared)
        if self._trailing is not None:
            self._compare(self._trailing.declared())

    def _compare(self, expected: Mapping[str, bytes]) -> None:
        for name, value in expected.items():
            if name not in self._hashes:
                raise BadDigest(f"Announce a {name} digest behind the body in `Trailer`.")
            if self.digest(name) != value:
                raise DigestMismatch(f"The bytes received have another {name} digest.")


async def verified(chunks: AsyncIterable[bytes], digests: Digests) -> AsyncGenerator[bytes]:
    """Pass chunks on, and fail at their end if their digests are not the declared ones.

    Args:
        chunks: Bytes as they arrive, in chunks small enough to be hashed on the loop.
        digests: Computes and compares.

    Raises:
        DigestMismatch: At the end.
        BadDigest: At the end, as `Digests.verify` raises.
    """
    async for chunk in chunks:
        digests.update([chunk])
        yield chunk
    digests.verify()
