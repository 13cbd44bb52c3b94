"""Many clients that send slowly at once, in a process of their own.

Each asks before it sends (`Expect: 100-continue`), so that one whom nobody serves is known by its
silence: the kernel would take in a whole small body for a server that never looks at it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import uvloop

from benchmarks.crowd import HEAD_END
from benchmarks.payload import block
from quart_app.models import KIB

if TYPE_CHECKING:
    from benchmarks.client import Address

PIECE_SIZE = 16 * KIB
INTERVAL_SECONDS = 0.5

#: How long a client waits for its answer, in times of what the sending alone takes; less than 2, or
#: those come in who were served after the first and not beside them.
PATIENCE = 1.6


def file_size(seconds: int) -> int:
    """Odd, for stored files are told by their size from those of a database."""
    return round(seconds / INTERVAL_SECONDS) * PIECE_SIZE - 1


def ready() -> None:
    """Nothing, but this process is up and has all it needs."""


def served(address: Address, count: int, seconds: int) -> int:
    """How many of so many clients, each sending for so long, have their file stored in time."""
    return uvloop.run(_served(address, count, seconds))


async def _served(address: Address, count: int, seconds: int) -> int:
    starts = (INTERVAL_SECONDS * number / count for number in range(count))
    ends = await asyncio.gather(*(_send(address, start, seconds) for start in starts))
    return sum(ends)


async def _send(address: Address, start: float, seconds: int) -> bool:
    await asyncio.sleep(start)
    try:
        async with asyncio.timeout(PATIENCE * seconds):
            return await _upload(address, file_size(seconds))
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        return False


async def _upload(address: Address, size: int) -> bool:
    reader, writer = await asyncio.open_connection(*address)
    try:
        writer.write(
            b"POST /upload?name=slow.bin HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/octet-stream\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % size
        )
        if await _status(reader) != b"100":
            return False
        for begin in range(0, size, PIECE_SIZE):
            writer.write(block()[begin : min(begin + PIECE_SIZE, size)])
            await asyncio.sleep(INTERVAL_SECONDS)
        return await _status(reader) == b"201"
    finally:
        writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> bytes:
    return (await reader.readuntil(HEAD_END))[9:12]
