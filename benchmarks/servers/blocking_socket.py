"""The limit in Python: one blocking socket, one client at a time, the fewest calls there can be.

With `--hash-beside`, a thread hashes one buffer while it is written and the next one is filled.
"""

from __future__ import annotations

import os
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from json import dumps, loads
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from benchmarks.servers.store import Incoming, find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.servers.store import Chunk

BUFFER_SIZE = 1024 * 1024


class HashedBeside(Incoming):
    pool = ThreadPoolExecutor(1)
    hashing: Future[None] | None = None

    def write(self, chunk: Chunk) -> None:
        self.hashed()
        self.hashing = self.pool.submit(self.digest.update, chunk)
        self.size += self.file.write(chunk)

    def hashed(self) -> None:
        if self.hashing:
            self.hashing.result()

    def keep(self, name: str, media_type: str | None) -> dict[str, object]:
        self.hashed()
        return super().keep(name, media_type)


class Handler(BaseHTTPRequestHandler):
    incoming = HashedBeside if "--hash-beside" in sys.argv else Incoming

    def received(self, length: int) -> Iterator[memoryview]:
        """The body, in two buffers by turns, so that a view outlives the next read."""
        buffers = [memoryview(bytearray(BUFFER_SIZE)) for _ in range(2)]
        while size := self.rfile.readinto1(buffers[0][:length]):
            yield buffers[0][:size]
            length -= size
            buffers.reverse()

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        if self.path == "/discard":
            self.discard(length)
            return
        if self.path == "/proxy":
            self.relay(loads(os.environ["QUART_APP_PROXY_TARGETS"])["default"], length)
            return
        query = parse_qs(urlsplit(self.path).query)
        with self.incoming(length) as incoming:
            for chunk in self.received(length):
                incoming.write(chunk)
            file = incoming.keep(query["name"][0], self.headers["Content-Type"])
        body = dumps({"files": [file]}).encode()
        self.answer(201, len(body), {"Location": str(file["url"])})
        self.wfile.write(body)

    def discard(self, length: int) -> None:
        body = b"%d" % sum(map(len, self.received(length)))
        self.answer(200, len(body), {})
        self.wfile.write(body)

    def relay(self, url: str, length: int = 0) -> None:
        """Both directions by one buffer; what the other end says goes back as it stands."""
        parts = urlsplit(url)
        kind = self.headers["Content-Type"]
        with socket.create_connection((parts.hostname, parts.port)) as far:
            head = f"{self.command} {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            declared = f"Content-Type: {kind}\r\nContent-Length: {length}\r\n" * bool(length)
            far.sendall(f"{head}{declared}Connection: close\r\n\r\n".encode())
            for chunk in self.received(length):
                far.sendall(chunk)
            buffer = memoryview(bytearray(BUFFER_SIZE))
            while size := far.recv_into(buffer):
                self.wfile.write(buffer[:size])

    def do_GET(self) -> None:
        if self.path.startswith("/http://"):
            self.relay(self.path[1:])
            return
        path, name, media_type, _ = find(self.path.split("/")[2])
        disposition = f'attachment; filename="{name}"'
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            self.answer(200, size, {"Content-Type": media_type, "Content-Disposition": disposition})
            sent = 0
            while sent < size:
                sent += os.sendfile(self.connection.fileno(), file.fileno(), sent, size - sent)

    def answer(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(length)}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_request(self, *_: object) -> None:
        """Nothing, as the others."""


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(f"serving on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
