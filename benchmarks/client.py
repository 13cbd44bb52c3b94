"""One blocking connection that moves bulk and costs next to nothing beside the server."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.payload import BLOCK_SIZE, block, fingerprint
from quart_app.models import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.payload import Payload

Address: TypeAlias = tuple[str, int]

BUFFER_SIZE = 1 * MIB
STALL_SECONDS = 300


class UnfitError(Exception):
    """A contender failed, or did less than it said: its figures would mean nothing."""


@contextmanager
def posted(address: Address, path: str, payload: Payload) -> Iterator[HTTPResponse]:
    """Send a body; the answer, to be read while the connection is there."""
    with closing(HTTPConnection(*address, timeout=STALL_SECONDS)) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", payload.content_type)
        connection.putheader("Content-Length", str(payload.length))
        connection.endheaders()
        payload.send(connection.sock)
        yield connection.getresponse()


def upload(address: Address, payload: Payload) -> dict[str, Any]:
    """Send a body; what the server says of the stored file, with its digest verified."""
    with posted(address, "/upload?name=benchmark.bin", payload) as response:
        body = response.read()
    if response.status != 201:
        raise UnfitError(f"upload answered {response.status}: {body[:200]!r}")
    return stored_file(body, payload.sha256)


def discarded(address: Address, payload: Payload) -> None:
    """Send a body that nobody keeps, to a server that says how much of it came."""
    with posted(address, "/discard", payload) as response:
        body = response.read()
    if body != b"%d" % payload.length:
        raise UnfitError(f"of {payload.length} bytes it says {body[:200]!r}")


def proxied(address: Address, path: str, payload: Payload) -> None:
    """Send a body through a server; what the destination says of it, far away, is right."""
    with posted(address, path, payload) as response:
        body = response.read()
    try:
        met = json.loads(body)
        size, sha256 = met["size"], met["sha256"]
    except (ValueError, LookupError, TypeError):
        size, sha256 = None, ""
    whole = size == payload.length or (payload.head and payload.size < (size or 0))
    right = whole and sha256 == fingerprint(payload.size)
    if response.status != 200 or not right:
        raise UnfitError(f"proxy answered {response.status}: {body[:200]!r}")


def read_back(address: Address, path: str, payload: Payload, *, digested: bool) -> None:
    """Send a body that comes back as the answer; its length is always verified."""
    with posted(address, path, payload) as response:
        verify_received(response, payload.size, payload.sha256 if digested else None)


def stored_file(body: bytes, sha256: str) -> dict[str, Any]:
    """The file in an answer, whose digest, where it gives one, is right."""
    try:
        file: dict[str, Any] = json.loads(body)["files"][0]
    except (ValueError, LookupError, TypeError):
        raise UnfitError(f"an answer that names no file: {body[:200]!r}") from None
    if file.get("sha256", sha256) != sha256:
        raise UnfitError("the digest in the answer is wrong")
    return file


def download(
    address: Address,
    url: str,
    size: int,
    sha256: str | None = None,
    patience: float = STALL_SECONDS,
) -> None:
    """Fetch a file into one buffer; its length is always verified, its digest on request."""
    with closing(HTTPConnection(*address, timeout=patience)) as connection:
        connection.request("GET", url)
        verify_received(connection.getresponse(), size, sha256)


def verify_received(response: HTTPResponse, size: int, sha256: str | None) -> None:
    if response.status != 200:
        raise UnfitError(f"download answered {response.status}: {response.read(200)!r}")
    received = _digested(response, sha256) if sha256 else _counted(response)
    if received != size:
        raise UnfitError(f"download gave {received} of {size} bytes")


def download_ranges(address: Address, url: str, ranges: Iterator[tuple[int, int]]) -> None:
    """Fetch one range of a payload after the other, every byte verified."""
    buffer = bytearray(BUFFER_SIZE)
    with closing(HTTPConnection(*address, timeout=STALL_SECONDS)) as connection:
        for begin, end in ranges:
            connection.request("GET", url, headers={"Range": f"bytes={begin}-{end - 1}"})
            response = connection.getresponse()
            if response.status != 206:
                raise UnfitError(f"a range answered {response.status}: {response.read(200)!r}")
            received = 0
            with memoryview(buffer) as view:
                while length := response.readinto(view[received : end - begin]):
                    received += length
            response.read()  # nothing, but then the connection can be used again
            place = begin % BLOCK_SIZE
            if buffer[:received] != block()[place : place + end - begin]:
                raise UnfitError("a range gave other bytes than were stored")


def _counted(response: HTTPResponse) -> int:
    buffer = bytearray(BUFFER_SIZE)
    received = 0
    while length := response.readinto(buffer):
        received += length
    return received


def _digested(response: HTTPResponse, sha256: str) -> int:
    digest = hashlib.sha256()
    received = 0
    while chunk := response.read(BUFFER_SIZE):
        digest.update(chunk)
        received += len(chunk)
    if digest.hexdigest() != sha256:
        raise UnfitError("download gave other bytes than were stored")
    return received
