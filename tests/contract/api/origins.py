"""Servers to relay from and to: small, on loopback, and as odd as those out there."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from tests.e2e.clients import MIB, content

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ETAG", "REMOTE", "Origin", "origin"]

REMOTE = content(2 * MIB + 3, seed=7)
ETAG = '"of-the-remote-file"'
LAST_MODIFIED = "Sat, 21 Nov 2026 07:00:00 GMT"

#: Longest life of a handler that keeps its client waiting.
HANG_SECONDS = 30


class Origin(ThreadingHTTPServer):
    """Listens on a free port of 127.0.0.1."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.closing = Event()
        self.go_on = Event()
        self.requests = 0
        self.kept = b""

    @property
    def authority(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.authority}"

    def handle_error(self, *_: Any) -> None:
        """Clients that leave are what some tests are about."""


@contextmanager
def origin() -> Iterator[Origin]:
    with Origin() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.go_on.set()
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Origin
    timeout = HANG_SECONDS

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests += 1
        path = self.path.partition("?")[0].strip("/")
        getattr(self, f"get_{path.partition('/')[0]}", self.get_mirror)()

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.server.requests += 1
        getattr(self, f"post_{self.path.partition('?')[0].strip('/')}", self.post_echo)()

    # What can be fetched.

    def get_file(self) -> None:
        validators = {"ETag": ETAG, "Last-Modified": LAST_MODIFIED, "Accept-Ranges": "bytes"}
        kind = {"Content-Type": "application/x-own"}
        if self.headers["If-None-Match"] == ETAG:
            self.answer(304, validators)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        if wanted is None:
            self.answer(200, validators | kind, REMOTE)
            return
        first, last = int(wanted[1]), int(wanted[2])
        field = {"Content-Range": f"bytes {first}-{last}/{len(REMOTE)}"}
        self.answer(206, validators | kind | field, REMOTE[first : last + 1])

    def get_named(self) -> None:
        name = "attachment; filename=\"x\"; filename*=UTF-8''%e2%82%ac.png"
        self.answer(200, {"Content-Disposition": name}, b"named")

    def get_mirror(self) -> None:
        told = {"target": self.path, "headers": dict(self.headers.items())}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())

    def get_untyped(self) -> None:
        self.answer(200, {}, b"untyped")

    def get_utf8(self) -> None:
        self.answer(200, {}, "Grüße".encode())

    def get_cached(self) -> None:
        self.answer(200, {"Cache-Control": "public, max-age=60"}, b"cached")

    def get_missing(self) -> None:
        self.answer(404, {"Content-Type": "text/plain"}, b"not here")

    def get_redirect(self) -> None:
        self.answer(302, {"Location": self.path.partition("?")[2]})

    def get_hops(self) -> None:
        fields = {"Connection": "X-Hop, keep-alive", "X-Hop": "1", "Keep-Alive": "timeout=5"}
        self.answer(200, fields | {"Content-Type": "text/plain"}, b"hops")

    def get_chunked(self) -> None:
        self.answer(200, {"Transfer-Encoding": "chunked"}, None)
        for start in range(0, len(REMOTE), 100_000):
            piece = REMOTE[start : start + 100_000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def get_short(self) -> None:
        self.answer(200, {"Content-Length": str(len(REMOTE))}, None)
        self.wfile.write(REMOTE[:-1])
        self.close_connection = True

    def get_slow(self) -> None:
        """Half of the file, and the other half once the test says so."""
        self.answer(200, {"Content-Length": str(len(REMOTE))}, None)
        self.wfile.write(REMOTE[:MIB])
        self.server.go_on.wait(HANG_SECONDS)
        self.wfile.write(REMOTE[MIB:])

    def get_hang(self) -> None:
        self.server.closing.wait(HANG_SECONDS)
        self.close_connection = True

    def get_garbage(self) -> None:
        self.wfile.write(b"what is this?\r\n\r\n")
        self.close_connection = True

    # What takes bodies.

    post_hang = get_hang
    post_garbage = get_garbage

    def post_echo(self) -> None:
        """Gives the body back, and tells in fields what came with it."""
        body = self.body()
        fields = {
            "Content-Type": self.headers["Content-Type"] or "",
            "X-Got": json.dumps({k.title(): v for k, v in self.headers.items()}),
            "X-Target": self.path,
            "X-Sha256": hashlib.sha256(body).hexdigest(),
            "Set-Cookie": "a=b",
            "Connection": "X-Hop",
            "X-Hop": "1",
        }
        self.answer(202, fields, body)

    def post_keep(self) -> None:
        self.server.kept = self.body()
        self.answer(201, {})

    def post_refuse(self) -> None:
        """Answers before it reads, and takes what still comes, so that the answer can be read."""
        self.answer(403, {"Content-Type": "text/plain", "Connection": "close"}, b"no")
        while self.rfile.read1():
            pass

    def body(self) -> bytes:
        if "chunked" not in (self.headers["Transfer-Encoding"] or ""):
            length = int(self.headers["Content-Length"] or 0)
            return self.whole(self.rfile.read(length), length)
        pieces = []
        while size := int(self.rfile.readline() or b"no more", 16):
            pieces.append(self.whole(self.rfile.read(size), size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def whole(self, data: bytes, size: int) -> bytes:
        if len(data) < size:
            raise EOFError
        return data

    def answer(self, status: int, fields: dict[str, str], body: bytes | None = b"") -> None:
        self.send_response_only(status)
        for name, value in fields.items():
            self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body and self.command != "HEAD":
            self.wfile.write(body)
