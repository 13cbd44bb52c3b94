"""Bodies of any size, out of one block of random bytes that is sent time and again."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from quart_app.models import MIB

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

BLOCK_SIZE = 16 * MIB
BOUNDARY = b"----benchmark-boundary"


@cache
def block() -> memoryview:
    return memoryview(random.Random(0).randbytes(BLOCK_SIZE))


@dataclass(frozen=True)
class Payload:
    """A file of `size` bytes, and what a request carries around it."""

    size: int
    head: bytes = b""
    tail: bytes = b""
    content_type: str = "application/octet-stream"

    @property
    def length(self) -> int:
        return len(self.head) + self.size + len(self.tail)

    @property
    def sha256(self) -> str:
        return sha256(self.size)

    def send(self, connection: socket.socket) -> None:
        connection.sendall(self.head)
        for piece in pieces(self.size):
            connection.sendall(piece)
        connection.sendall(self.tail)


def form(size: int) -> Payload:
    """The same file as the one part of a form."""
    disposition = b'Content-Disposition: form-data; name="file"; filename="benchmark.bin"'
    head = [b"--" + BOUNDARY, disposition, b"Content-Type: application/octet-stream", b"", b""]
    tail = [b"", b"--" + BOUNDARY + b"--", b""]
    content_type = f"multipart/form-data; boundary={BOUNDARY.decode()}"
    return Payload(size, b"\r\n".join(head), b"\r\n".join(tail), content_type)


@cache
def sha256(size: int) -> str:
    digest = hashlib.sha256()
    for piece in pieces(size):
        digest.update(piece)
    return digest.hexdigest()


def pieces(size: int) -> Iterator[memoryview]:
    """The block, time and again, until there are `size` bytes."""
    for start in range(0, size, BLOCK_SIZE):
        yield block()[: size - start]
