"""Clients: real ones, and one on a raw socket that does what no library would."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
from contextlib import closing, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess

__all__ = [
    "MIB",
    "Wire",
    "aria2c",
    "content",
    "curl",
    "form",
    "form_type",
    "session",
    "sha256",
    "upload",
    "wire",
]

MIB = 1024 * 1024

#: Longest wait of a client for a server that should answer.
CLIENT_SECONDS = 60

BOUNDARY = "----boundary-of-a-test"


def content(size: int, seed: int = 0) -> bytes:
    """Bytes that no compression, sparse file or repeated block can pass for."""
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def session(server: ServerProcess) -> Iterator[httpx.Client]:
    """A client; without TLS it need not read the certificates of the world, which takes 40 ms."""
    with httpx.Client(base_url=server.base_url, timeout=CLIENT_SECONDS, verify=False) as client:
        yield client


def upload(
    client: httpx.Client, data: bytes, name: str = "a.bin", **headers: str
) -> dict[str, Any]:
    """Stores a file, and gives what the server says of it."""
    fields = {field.replace("_", "-"): value for field, value in headers.items()}
    response = client.post("/upload", params={"name": name}, content=data, headers=fields)
    assert response.status_code == 201, response.text
    [file] = response.json()["files"]
    found: dict[str, Any] = file
    return found


def curl(*arguments: object, stdin: Path | None = None) -> bytes:
    """What curl prints; a curl that fails, fails the test."""
    quietly = ("--silent", "--show-error", "--max-time", CLIENT_SECONDS)
    return _run("curl", *quietly, *arguments, stdin=stdin)


def aria2c(*arguments: object) -> bytes:
    return _run(_tool("aria2c"), "--allow-overwrite=true", "--file-allocation=none", *arguments)


def _tool(name: str) -> Path:
    """A command of the environment that runs the tests, before the machine's."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    assert found is not None, f"{name} is missing"
    return Path(found)


def _run(*command: object, stdin: Path | None = None) -> bytes:
    with (stdin or Path(os.devnull)).open("rb") as source:
        done = subprocess.run(
            [str(part) for part in command], stdin=source, capture_output=True, timeout=120
        )
    assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-1000:])
    return done.stdout


def form(*parts: tuple[str, bytes], end: bytes | None = None) -> bytes:
    """A form of parts, each the parameters of its disposition and its content."""
    delimiter = f"--{BOUNDARY}".encode()
    body = b"".join(
        delimiter + b"\r\nContent-Disposition: form-data; " + header.encode() + b"\r\n\r\n"
        + data + b"\r\n"
        for header, data in parts
    )  # fmt: skip
    return body + (delimiter + b"--\r\n" if end is None else end)


form_type = f"multipart/form-data; boundary={BOUNDARY}"


class _Reader(io.BufferedReader):
    """What is read from a connection; responses think that they may close it."""

    def close(self) -> None:
        pass

    def flush(self) -> None:
        """Does nothing, as for any reader: Python 3.13 asks for it after the end."""

    def end(self) -> None:
        super().close()


class Wire:
    """A connection on which every byte is the test's own.

    Args:
        server: Where to.
        receive_buffer: Bytes the kernel takes for a reader that stops; its own choice when None.
    """

    def __init__(self, server: ServerProcess, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:  # has to be known before the connection is made
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(CLIENT_SECONDS)
        try:
            self.socket.connect((server.host, server.port))
        except OSError:
            self.socket.close()
            raise
        self._reader = _Reader(self.socket.makefile("rb", buffering=0))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, line: str, *headers: str, body: bytes = b"") -> None:
        """Sends a request as it stands: no header but `Host` is added."""
        head = "\r\n".join([f"{line} HTTP/1.1", "Host: test", *headers, "", ""])
        self.send(head.encode("latin-1") + body)

    def chunk(self, data: bytes) -> None:
        """Sends a chunk of a body with `Transfer-Encoding: chunked`; an empty one ends it."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def response(self, method: str = "POST") -> HTTPResponse:
        """Reads the head of a response."""
        response = HTTPResponse(cast("socket.socket", self), method=method)
        response.begin()
        return response

    def problem(self) -> tuple[int, str]:
        """Reads a whole answer: its status, and the code of the problem it tells."""
        response = self.response()
        body = response.read()
        return response.status, json.loads(body)["code"] if body else ""

    def end(self) -> None:
        """Says that nothing more will be sent; can still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Goes without a farewell, as a machine that lost its network."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._reader.end()
        self.socket.close()

    def makefile(self, _mode: str) -> _Reader:
        """Gives all responses the same reader: one may have read the beginning of the next."""
        return self._reader


def wire(server: ServerProcess, receive_buffer: int | None = None) -> closing[Wire]:
    """Opens a connection that is closed with the block."""
    return closing(Wire(server, receive_buffer))
