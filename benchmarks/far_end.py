"""What a relay talks to, in a process of its own: `python -m benchmarks.far_end [--slow]`.

An origin (`GET /bytes/SIZE`, by the kernel's sendfile out of memory) and a destination (`POST`,
which says how much came and the digest of its beginning) that take next to no time themselves, so
that the relay is what is measured. A slow destination reads a little now and then, without end.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar

from benchmarks.beside import beside
from benchmarks.payload import BLOCK_SIZE, FINGERPRINT_SIZE, block
from quart_app.models import KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from benchmarks.client import Address

BUFFER_SIZE = 1 * MIB
READ_AHEAD_SIZE = 256 * KIB
SLOW_SIZE = 16 * KIB
SLOW_SECONDS = 0.5


def far_end(*, slow: bool = False) -> AbstractContextManager[Address]:
    return beside("benchmarks.far_end", *["--slow"] * slow)


def bodies_met(address: Address) -> int:
    """How many bodies have begun to reach a destination since it was last asked."""
    connection = HTTPConnection(*address)
    connection.request("GET", "/met")
    met = int(connection.getresponse().read())
    connection.close()
    return met


class Fingerprint:
    """The size of a body, and the digest of what it begins with.

    A form is sent anew by a relay, so that its own head may change: it does not count.
    """

    def __init__(self, *, is_form: bool) -> None:
        self.size = 0
        self.left = FINGERPRINT_SIZE
        self.digest = hashlib.sha256()
        self.head = b"" if is_form else None

    def update(self, piece: memoryview) -> None:
        self.size += len(piece)
        if self.head is not None:
            self.head += piece
            _, found, rest = self.head.partition(b"\r\n\r\n")
            if not found:
                return
            piece, self.head = memoryview(rest), None
        if self.left:
            self.digest.update(piece[: self.left])
            self.left -= len(piece[: self.left])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rbufsize = READ_AHEAD_SIZE
    disable_nagle_algorithm = True
    slow = False
    met: ClassVar[list[None]] = []
    memory: ClassVar[int]

    def do_GET(self) -> None:
        if self.path == "/met":
            body = b"%d" % len(self.met)
            self.met.clear()
            self.answer(len(body))
            self.wfile.write(body)
        else:
            self.send_bytes(int(self.path.rpartition("/")[2]))

    def send_bytes(self, size: int) -> None:
        self.answer(size, "application/octet-stream")
        sent = 0
        while sent < size:
            begin = sent % BLOCK_SIZE
            count = min(BLOCK_SIZE - begin, size - sent)
            sent += os.sendfile(self.connection.fileno(), self.memory, begin, count)

    def do_POST(self) -> None:
        is_form = self.headers.get_content_maintype() == "multipart"
        fingerprint = Fingerprint(is_form=is_form)
        for piece in self.body():
            if not fingerprint.size:
                self.met.append(None)
            fingerprint.update(piece)
            if self.slow:
                time.sleep(SLOW_SECONDS)
        body = json.dumps({"size": fingerprint.size, "sha256": fingerprint.digest.hexdigest()})
        self.answer(len(body), "application/json")
        self.wfile.write(body.encode())

    def body(self) -> Iterator[memoryview]:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            yield from self.pieces(int(self.headers["Content-Length"]))
            return
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            yield from self.pieces(length)
            self.rfile.readline()
        while self.rfile.readline().strip():
            """A trailer."""

    def pieces(self, length: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(SLOW_SIZE if self.slow else BUFFER_SIZE))
        while length:
            size = self.rfile.readinto1(buffer[:length])
            if not size:
                raise ConnectionError("the body ended early")
            yield buffer[:size]
            length -= size

    def answer(self, length: int, media_type: str = "text/plain") -> None:
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing, as the servers."""


class FarEnd(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_: object) -> None:
        """Transfers that end early are what a crowd does."""


def _run() -> None:
    Handler.slow = "--slow" in sys.argv
    Handler.memory = os.memfd_create("origin")
    os.write(Handler.memory, block())
    server = FarEnd(("127.0.0.1", 0), Handler, bind_and_activate=False)
    if Handler.slow:
        Handler.rbufsize = SLOW_SIZE
        server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_SIZE)
    server.server_bind()
    server.server_activate()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _run()
