"""Network reads gathered, for a thread hop per 64 KiB costs more than the write it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

PIECE_SIZE = 1024 * 1024


async def gathered(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytearray]:
    piece = bytearray()
    async for chunk in chunks:
        piece += chunk
        if len(piece) >= PIECE_SIZE:
            yield piece
            piece = bytearray()
    if piece:
        yield piece
