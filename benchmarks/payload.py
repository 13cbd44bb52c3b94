"""Bodies of any size, out of one block of random bytes or text that is sent time and again."""

from __future__ import annotations

import hashlib
import random
from base64 import encodebytes
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from quart_app.models import MIB

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

BLOCK_SIZE = 16 * MIB

#: So much of a body is digested where digesting all of it would be what is measured.
FINGERPRINT_SIZE = 1 * MIB

BOUNDARY = b"----benchmark-boundary"


@cache
def block(*, text: bool = False) -> memoryview:
    """Random bytes, or lines of 76 characters that stand for them."""
    data = random.Random(0).randbytes(BLOCK_SIZE)
    return memoryview(encodebytes(data)[:BLOCK_SIZE] if text else data)


@dataclass(frozen=True)
class Payload:
    """A file of `size` bytes, and what a request carries around it."""

    size: int
    head: bytes = b""
    tail: bytes = b""
    content_type: str = "application/octet-stream"
    text: bool = False

    @property
    def length(self) -> int:
        return len(self.head) + self.size + len(self.tail)

    @property
    def sha256(self) -> str:
        return sha256(self.size, text=self.text)

    def send(self, connection: socket.socket) -> None:
        connection.sendall(self.head)
        for piece in pieces(self.size, text=self.text):
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
def sha256(size: int, *, text: bool = False) -> str:
    digest = hashlib.sha256()
    for piece in pieces(size, text=text):
        digest.update(piece)
    return digest.hexdigest()


def fingerprint(size: int) -> str:
    """The digest of the first bytes of a body."""
    return sha256(min(size, FINGERPRINT_SIZE))


def pieces(size: int, *, text: bool = False) -> Iterator[memoryview]:
    """The block, time and again, until there are `size` bytes."""
    for start in range(0, size, BLOCK_SIZE):
        yield block(text=text)[: size - start]
