"""Memory that does not grow with files."""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.e2e.clients import BOUNDARY, MIB, content, form_type, wire
from tests.server_process import SERVE
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server_process import ServerProcess

    Start = Callable[..., ServerProcess]

SMALL_MIB, LARGE_MIB = 100, 1200

MOST_GROWTH = 32 * MIB

#: What may stay of a crowd that is gone: slack that is not trimmed, and what it had imported.
MOST_REST = 56 * MIB

HALF_UPLOADS = 240

BLOCK = content(MIB)


def sent(server: ServerProcess, count_mib: int, *, as_form: bool) -> tuple[str, str]:
    """Uploads a file made on the way; gives its URL and its digest."""
    digest = hashlib.sha256()
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
    tail = f"\r\n--{BOUNDARY}--\r\n"
    size = count_mib * MIB + (len(head + tail) if as_form else 0)
    kind = form_type if as_form else "application/octet-stream"
    with wire(server) as client:
        client.request("POST /upload", f"Content-Type: {kind}", f"Content-Length: {size}")
        client.send(head.encode() if as_form else b"")
        for number in range(count_mib):
            block = number.to_bytes(8, "big") + BLOCK[8:]
            digest.update(block)
            client.send(block)
        client.send(tail.encode() if as_form else b"")
        [file] = json.loads(client.response().read())["files"]
    assert file["sha256"] == digest.hexdigest()
    return file["url"], digest.hexdigest()


def received(server: ServerProcess, path: str) -> str:
    """Downloads a file; gives its digest."""
    digest = hashlib.sha256()
    with wire(server) as client:
        client.request(f"GET {path}")
        response = client.response("GET")
        while data := response.read(MIB):
            digest.update(data)
    return digest.hexdigest()


def test_peak_is_that_of_small_files(start: Start) -> None:
    server = start(command=SERVE)
    peaks = []
    for raw_mib, form_mib in ((SMALL_MIB, SMALL_MIB), (LARGE_MIB, LARGE_MIB // 3)):
        for count_mib, as_form in ((raw_mib, False), (form_mib, True)):
            path, digest = sent(server, count_mib, as_form=as_form)
            assert received(server, path) == digest
        peaks.append(server.memory("VmHWM"))
    assert peaks[1] - peaks[0] < MOST_GROWTH, [f"{peak / MIB:.0f} MiB" for peak in peaks]


def test_memory_is_given_back(start: Start) -> None:
    """Uploads that went half-way leave nothing on the heap, however they went."""
    server = start(command=SERVE)
    before = server.memory("VmRSS")
    with ExitStack() as stack:
        clients = [stack.enter_context(wire(server)) for _ in range(HALF_UPLOADS)]
        for client in clients:
            client.request("POST /upload", f"Content-Length: {10 * MIB}", body=BLOCK[: MIB - 1])
        eventually(lambda: len(server.parts()) == len(clients), what="all uploads begin")
        for client in clients[::2]:
            client.reset()
    eventually(lambda: server.memory("VmRSS") - before < MOST_REST, what="the memory comes back")
    assert server.memory() - before > 2 * MOST_REST  # there was something to give back
