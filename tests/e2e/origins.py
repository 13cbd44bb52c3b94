"""Other servers, on raw sockets: they answer as a test says, and misbehave as it asks."""

from __future__ import annotations

import re
import socket
import struct
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Origin", "Visit", "answer"]

#: Longest wait for a service that should come, send or go.
VISIT_SECONDS = 60

READ_SIZE = 65536

#: First byte of whoever believes that this server speaks TLS.
TLS_HANDSHAKE = b"\x16"


class Visit:
    """One connection that a service has made.

    Attributes:
        line: Its request line.
        head: Its header fields by lower-case name.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._buffer = connection.recv(READ_SIZE)
        if self._buffer[:1] == TLS_HANDSHAKE:
            raise EOFError
        head = self._until(b"\r\n\r\n").decode("latin-1")
        self.line, *fields = head.removesuffix("\r\n\r\n").split("\r\n")
        self.head = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
        self.path = self.line.split(" ")[1]

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def _more(self) -> None:
        data = self.socket.recv(READ_SIZE)
        if not data:
            raise EOFError
        self._buffer += data

    def take(self, size: int) -> bytes:
        """Some bytes of the body as they are on the wire."""
        while len(self._buffer) < size:
            self._more()
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def body(self) -> bytes:
        """The whole body; `EOFError` when it is cut."""
        if "content-length" in self.head:
            return self.take(int(self.head["content-length"]))
        assert self.head.get("transfer-encoding") == "chunked", self.head
        chunks = []
        while size := int(self._until(b"\r\n"), 16):
            chunks.append(self.take(size))
            assert self.take(2) == b"\r\n"
        assert self.take(2) == b"\r\n"
        return b"".join(chunks)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, body: bytes = b"", *fields: str, status: str = "200 OK") -> None:
        self.send(answer(body, *fields, status=status))

    def is_left(self) -> bool:
        """Waits until the service has closed the connection."""
        with suppress(ConnectionError):
            while self.socket.recv(READ_SIZE):
                pass
        return True

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def answer(body: bytes = b"", *fields: str, status: str = "200 OK") -> bytes:
    """An answer with a length, unless a field gives another framing."""
    framed = re.search(r"^(Content-Length|Transfer-Encoding):", "\n".join(fields), re.MULTILINE)
    length = [] if framed else [f"Content-Length: {len(body)}"]
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, *length, "", ""]).encode() + body


class Origin:
    """A server whose behaviour is a function for each path (without its query)."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.netloc = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.netloc}"
        self.visits: list[Visit] = []
        self._behaviours: dict[str, Callable[[Visit], object]] = {}
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def on(self, path: str, behaviour: Callable[[Visit], object]) -> str:
        """Says what happens at a path; gives its URL."""
        self._behaviours[path] = behaviour
        self.visits.clear()
        return self.url + path

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(VISIT_SECONDS)
                threading.Thread(target=self._visit, args=[connection], daemon=True).start()

    def _visit(self, connection: socket.socket) -> None:
        # A service that goes while it is answered is for the test to judge, by what it asserts.
        with closing(connection), suppress(OSError, EOFError):
            visit = Visit(connection)
            self.visits.append(visit)
            self._behaviours[visit.path.partition("?")[0]](visit)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
