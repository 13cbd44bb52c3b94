"""One blocking connection that moves bulk and costs next to nothing beside the server."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any, TypeAlias

from quart_app.models import MIB

if TYPE_CHECKING:
    from benchmarks.payload import Payload

Address: TypeAlias = tuple[str, int]

BUFFER_SIZE = 1 * MIB
STALL_SECONDS = 300


class UnfitError(Exception):
    """A contender failed, or did less than it said: its figures would mean nothing."""


def upload(address: Address, payload: Payload) -> dict[str, Any]:
    """Send a body; what the server says of the stored file, with its digest verified."""
    with closing(HTTPConnection(*address, timeout=STALL_SECONDS)) as connection:
        connection.putrequest("POST", "/upload?name=benchmark.bin")
        connection.putheader("Content-Type", payload.content_type)
        connection.putheader("Content-Length", str(payload.length))
        connection.endheaders()
        payload.send(connection.sock)
        response = connection.getresponse()
        body = response.read()
    if response.status != 201:
        raise UnfitError(f"upload answered {response.status}: {body[:200]!r}")
    return stored_file(body, payload.sha256)


def discarded(address: Address, payload: Payload) -> None:
    """Send a body that nobody keeps, to a server that says how much of it came."""
    with closing(HTTPConnection(*address, timeout=STALL_SECONDS)) as connection:
        connection.putrequest("POST", "/discard")
        connection.putheader("Content-Length", str(payload.length))
        connection.endheaders()
        payload.send(connection.sock)
        body = connection.getresponse().read()
    if body != b"%d" % payload.length:
        raise UnfitError(f"of {payload.length} bytes it says {body[:200]!r}")


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
        response = connection.getresponse()
        if response.status != 200:
            raise UnfitError(f"download answered {response.status}")
        received = _digested(response, sha256) if sha256 else _counted(response)
    if received != size:
        raise UnfitError(f"download gave {received} of {size} bytes")


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
