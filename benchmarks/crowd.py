"""Many connections at once with small requests, in one thread and cheaper than any server.

A connection is used again for as long as its server allows, for that is what clients do.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

import uvloop

from benchmarks.client import STALL_SECONDS, UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from benchmarks.client import Address

HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LAST = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Answer(NamedTuple):
    """A whole answer, still in bytes: looking closer can wait until the clock stops."""

    head: bytes
    body: bytes

    @property
    def status(self) -> bytes:
        return self.head[9:12]


def exchange(
    address: Address, requests: Iterable[bytes], connections: int, *, reuse: bool = True
) -> list[Answer]:
    """Send all requests over so many connections; the answers, in the order they came."""
    return uvloop.run(_exchange(address, iter(requests), connections, reuse))


async def _exchange(
    address: Address, requests: Iterator[bytes], connections: int, reuse: bool
) -> list[Answer]:
    answers: list[Answer] = []
    visits = (_visit(address, requests, answers, reuse) for _ in range(connections))
    async with asyncio.timeout(STALL_SECONDS):
        await asyncio.gather(*visits)
    return answers


async def _visit(
    address: Address, requests: Iterator[bytes], answers: list[Answer], reuse: bool
) -> None:
    """Be one client, who shares the work with the others by taking the next request."""
    for request in requests:
        others = requests if reuse else iter(())
        conversation = partial(Conversation, request, others, answers)
        _, held = await asyncio.get_running_loop().create_connection(conversation, *address)
        await held.ended


class Conversation(asyncio.Protocol):
    """One connection: a request, its whole answer, and the next one while the server stays."""

    def __init__(self, first: bytes, others: Iterator[bytes], answers: list[Answer]) -> None:
        self.request: bytes | None = first
        self.others = others
        self.answers = answers
        self.data = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        if self.request:
            self.transport.write(self.request)
        else:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, found, body = self.data.partition(HEAD_END)
        length = LENGTH.search(head)
        if found and length is None:
            self.transport.abort()
        elif found and length and len(body) >= int(length[1]):
            self.answers.append(Answer(head, body))
            self.data = b""
            self.request = None if LAST.search(head) else next(self.others, None)
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.request:
            self.ended.set_exception(
                UnfitError(f"a connection ended without its whole answer: {exc}")
            )
        elif not self.ended.done():
            self.ended.set_result(None)
