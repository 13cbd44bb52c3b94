"""A writer in a process of its own, which goes a step at a time as its standard input says.

Run as `python storage_writer.py ROOT KEY`; says on standard output how far it is.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from quart_app.storage import LocalDriver

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PIECE = b"x" * 100_000


async def step(done: str) -> None:
    print(done, flush=True)  # noqa: T201
    await asyncio.to_thread(sys.stdin.readline)


async def pieces() -> AsyncGenerator[list[bytes]]:
    yield [PIECE]
    await step("unfinished")
    yield [PIECE]


async def write(root: Path, key: str) -> None:
    async with LocalDriver(root).put(key, pieces(), lambda: b"") as blob:
        await step("durable")
        blob.keep()
    await step("kept")


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2]))
