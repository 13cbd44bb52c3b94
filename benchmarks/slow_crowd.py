"""Many clients at once whose transfers go slowly, in a process of their own.

Who sends asks before (`Expect: 100-continue`), so that one whom nobody serves is known by its
silence: the kernel would take in a whole small body for a server that never looks at it.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import uvloop

from benchmarks.crowd import HEAD_END
from benchmarks.payload import block
from quart_app.models import GIB, KIB

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from benchmarks.client import Address

PIECE_SIZE = 16 * KIB
INTERVAL_SECONDS = 0.5

#: More than is sent in any run, and less than servers refuse for its size.
ENDLESS_SIZE = 1 * GIB
RECEIVED_SIZE = 64 * KIB

#: How long a client waits for its answer, in times of what the sending alone takes; less than 2, or
#: those come in who were served after the first and not beside them.
PATIENCE = 1.6


def file_size(seconds: int) -> int:
    """Odd, for stored files are told by their size from those of a database."""
    return round(seconds / INTERVAL_SECONDS) * PIECE_SIZE - 1


def ready() -> None:
    """Nothing, but this process is up and has all it needs."""


def served(address: Address, count: int, *, seconds: int) -> int:
    """How many of so many clients, each sending for so long, have their file stored in time."""
    size = file_size(seconds)
    head = _head("/upload?name=slow.bin", size)
    return uvloop.run(_crowd(partial(_upload, size), address, count, head, PATIENCE * seconds))


def senders(address: Address, count: int, path: str, *, seconds: int) -> int:
    """How many of so many clients, each sending all that is taken, are served within that time."""
    return uvloop.run(_crowd(_send, address, count, _head(path, ENDLESS_SIZE), seconds))


def readers(address: Address, count: int, url: str, *, seconds: int) -> int:
    """How many of so many clients, each reading a little now and then, are served meanwhile."""
    head = f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    return uvloop.run(_crowd(_read, address, count, head, seconds))


def _head(path: str, size: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
        f"Expect: 100-continue\r\nContent-Length: {size}\r\n\r\n"
    ).encode()


class Client:
    """One connection, and whether it is served."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.is_served = False

    async def status(self) -> bytes:
        return (await self.reader.readuntil(HEAD_END))[9:12]


Visit: TypeAlias = "Callable[[Client], Coroutine[None, None, None]]"


async def _crowd(visit: Visit, address: Address, count: int, head: bytes, seconds: float) -> int:
    """Let all come within an interval and leave together, or who waits is served by who leaves."""
    starts = (INTERVAL_SECONDS * number / count for number in range(count))
    end = asyncio.get_running_loop().time() + INTERVAL_SECONDS + seconds
    served = await asyncio.gather(*(_come(visit, address, start, head, end) for start in starts))
    return sum(served)


async def _come(visit: Visit, address: Address, start: float, head: bytes, end: float) -> bool:
    """Be one client until the end; whether it was served, and not cut off by the server."""
    await asyncio.sleep(start)
    try:
        client = Client(*await _connected(address))
    except OSError:
        return False
    try:
        async with asyncio.timeout_at(end):
            client.writer.write(head)
            await visit(client)
    except TimeoutError:
        return client.is_served
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        client.writer.transport.abort()
    return client.is_served


async def _connected(address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection for which the kernel keeps little of what is not read."""
    connection = socket.socket()
    connection.setblocking(False)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_SIZE)
    await asyncio.get_running_loop().sock_connect(connection, address)
    return await asyncio.open_connection(sock=connection, limit=PIECE_SIZE)


async def _upload(size: int, client: Client) -> None:
    """Send a whole file, a piece at a time; served is whose file is stored."""
    if await client.status() != b"100":
        return
    for begin in range(0, size, PIECE_SIZE):
        client.writer.write(block()[begin : min(begin + PIECE_SIZE, size)])
        await asyncio.sleep(INTERVAL_SECONDS)
    client.is_served = await client.status() == b"201"


async def _send(client: Client) -> None:
    client.is_served = await client.status() == b"100"
    while client.is_served:
        client.writer.write(block()[:PIECE_SIZE])
        await client.writer.drain()


async def _read(client: Client) -> None:
    client.is_served = await client.status() == b"200"
    while client.is_served:
        await client.reader.readexactly(PIECE_SIZE)
        await asyncio.sleep(INTERVAL_SECONDS)
