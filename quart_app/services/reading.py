"""Bodies read without being saved: kept for a moment, described or given back."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from quart_app.protocol.text import LineCounter
from quart_app.streaming import (
    Digests,
    disk_errors,
    file_spool,
    gathered,
    mapped_spool,
    spilling_spool,
    text_spool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from quart_app.streaming import Spool

__all__ = ["Description", "Reading", "Via"]


class Via(StrEnum):
    """Where a body is kept while it is read."""

    BYTESIO = "bytesio"
    STRINGIO = "stringio"
    TEMPFILE = "tempfile"
    MMAP = "mmap"


@dataclass(frozen=True, slots=True)
class Description:
    """What a body was.

    Attributes:
        size: Length in bytes.
        sha256: Its SHA-256, 64 hexadecimal digits.
        lines: Its lines, the last with or without its line feed; None unless it is UTF-8.
    """

    size: int
    sha256: str
    lines: int | None


class Reading:
    """Keeps bodies for a moment, in memory or in temporary files without a name.

    Args:
        directory: Where the files go, which is to be where there is room.
        spill_size: Most bytes of a body that memory holds.
    """

    def __init__(self, directory: Path, *, spill_size: int) -> None:
        self._directory = str(directory)
        self._spill_size = spill_size

    @asynccontextmanager
    async def keep(self, chunks: AsyncIterable[bytes], via: Via) -> AsyncIterator[Spool]:
        """Keep a body; nothing of it is left when the context is, whatever happens.

        Args:
            chunks: The body.
            via: Where to keep it.

        Raises:
            NotText: `stringio` was asked for, and the body is not UTF-8.
            BodyError: As the chunks raise.
            StorageError: As the disk fails.
        """
        async with AsyncExitStack() as stack:
            with disk_errors():
                spool = await stack.enter_async_context(self._spool(chunks, via))
            yield spool

    def _spool(self, chunks: AsyncIterable[bytes], via: Via) -> AbstractAsyncContextManager[Spool]:
        if via is Via.TEMPFILE:
            return file_spool(chunks, directory=self._directory)
        if via is Via.MMAP:
            return mapped_spool(chunks, directory=self._directory)
        spill = text_spool if via is Via.STRINGIO else spilling_spool
        return spill(chunks, spill_size=self._spill_size, directory=self._directory)

    async def describe(self, chunks: AsyncIterable[bytes], via: Via) -> Description:
        """Keep a body as `keep` does, only to tell what it was; raises as `keep` does."""
        digests, lines = Digests("sha-256"), LineCounter()
        async with (
            aclosing(_watched(chunks, digests, lines)) as watched,
            self.keep(watched, via) as spool,
        ):
            return Description(spool.size, digests.digest("sha-256").hex(), lines.finish())


async def _watched(
    chunks: AsyncIterable[bytes], digests: Digests, lines: LineCounter
) -> AsyncGenerator[bytes]:
    async with aclosing(gathered(chunks)) as pieces, aclosing(digests.watch(pieces)) as watched:
        async for piece in watched:
            for chunk in piece:
                lines.feed(chunk)
                yield chunk
