"""A long wire to a local port, in a process of its own: `python -m benchmarks.wire PORT`.

Bytes arrive as late and as slowly as over a distance. TCP itself ends here on both sides, so that
its slow start and losses are not shown, but what waits for round trips above it is.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import uvloop

from benchmarks.beside import beside
from quart_app.models import KIB, MIB

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from benchmarks.client import Address

ROUND_TRIP_SECONDS = 0.05
BITS_PER_SECOND = 100_000_000

#: What is on its way or waits for it in one direction: more than once the product of bandwidth and
#: round trip (610 KiB), as a well set up sender keeps.
BUFFER_SIZE = 1 * MIB
PIECE_SIZE = 16 * KIB


def wire_to(address: Address) -> AbstractContextManager[Address]:
    """Where the far end of a wire is that leads to a server."""
    return beside("benchmarks.wire", str(address[1]))


class Lane:
    """One direction."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(
            BUFFER_SIZE // PIECE_SIZE
        )

    async def carry(self) -> None:
        with suppress(OSError):
            await asyncio.gather(self._take(), self._deliver())

    async def _take(self) -> None:
        """Put on the wire what comes, one bit after the other."""
        loop = asyncio.get_running_loop()
        free = 0.0
        data = b"any"
        while data:
            data = await self.reader.read(PIECE_SIZE)
            free = max(free, loop.time()) + 8 * len(data) / BITS_PER_SECOND
            await self.under_way.put((free + ROUND_TRIP_SECONDS / 2, data))

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await self.under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                self.writer.write_eof()
                return
            self.writer.write(data)
            await self.writer.drain()


async def _run(port: int) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            lanes = (Lane(reader, far_writer), Lane(far_reader, writer))
            await asyncio.gather(*(lane.carry() for lane in lanes))
        finally:
            far_writer.close()
            writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1])))
