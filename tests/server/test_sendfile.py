"""Parts of files that the kernel sends, and everybody else's bytes around them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import httpx
import pytest

from quart_app.models import ByteRange
from quart_app.server.sendfile import Sending, send_file
from quart_app.streaming import FileCut
from tests.e2e.clients import MIB, content, session, wire
from tests.server.http2_client import http2
from tests.waiting import comes_to_nothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.server.conftest import RawServer

ZERO_COPY = "http.response.zerocopysend"

BYTES = content(24 * MIB)

#: A small window makes the server wait for its reader.
WINDOW = 64 * 1024


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("file") / "bytes"
    path.write_bytes(BYTES)
    return path


def target(path: Path, offset: int, count: int, **query: str) -> str:
    return "/file?" + urlencode({"path": path, "offset": offset, "count": count, **query})


class TestAnswers:
    @pytest.mark.parametrize("framing", [{}, {"chunked": "1"}], ids=["length", "chunked"])
    @pytest.mark.parametrize(
        ("offset", "count"), [(0, len(BYTES)), (1, 10 * MIB + 7), (len(BYTES) - 1, 1)]
    )
    def test_bytes_between_others(
        self, ours: RawServer, path: Path, offset: int, count: int, framing: dict[str, str]
    ) -> None:
        with wire(ours, WINDOW) as client:
            for _ in range(2):  # the connection goes on after it
                client.request(f"GET {target(path, offset, count, **framing)}")
                body = client.response("GET").read()
                assert body == b"before" + BYTES[offset : offset + count] + b"after"

    def test_head_has_none_of_it(self, ours: RawServer, path: Path) -> None:
        with session(ours) as client:
            response = client.head(target(path, 0, 1000))
            assert (response.headers["Content-Length"], response.content) == ("1011", b"")
            assert client.get("/extensions").status_code == 200

    @pytest.mark.parametrize("framing", [{}, {"chunked": "1"}], ids=["length", "chunked"])
    def test_file_that_is_too_short_breaks_the_answer(
        self, ours: RawServer, path: Path, framing: dict[str, str]
    ) -> None:
        with session(ours) as client:
            seen = client.get("/state").json()["seen"].count("FileCut")
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(target(path, len(BYTES) - 10, 1000, **framing))
            assert client.get("/state").json()["seen"].count("FileCut") == seen + 1

    @pytest.mark.parametrize("method", ["reset", "close"])
    def test_client_is_gone(self, ours: RawServer, path: Path, method: str) -> None:
        for ends_first in (False, True):
            with wire(ours, WINDOW) as client:
                client.request(f"GET {target(path, 0, len(BYTES))}")
                assert client.response("GET").read(MIB)
                if ends_first:
                    client.end()
                getattr(client, method)()
            comes_to_nothing(lambda: [d for d in ours.descriptors() if str(path) in d], seconds=10)

    def test_offered_where_it_can_be(self, ours: RawServer) -> None:
        with session(ours) as client:
            assert ZERO_COPY in client.get("/extensions").json()
        with http2(ours) as client:
            assert ZERO_COPY.encode() not in client.get("/extensions").body


class TestSendFile:
    """What few systems here would do by themselves."""

    pytestmark = pytest.mark.asyncio(loop_scope="function")

    async def received(self, path: Path, wanted: ByteRange) -> bytes:
        ours, theirs = socket.socketpair()
        with ours, theirs, path.open("rb") as file:
            ours.setblocking(False)
            theirs.setblocking(False)
            sending = asyncio.ensure_future(
                send_file(ours.fileno(), Sending(file.fileno(), wanted.start, wanted.size))
            )
            sending.add_done_callback(lambda _: ours.shutdown(socket.SHUT_WR))
            got = bytearray()
            while data := await asyncio.get_running_loop().sock_recv(theirs, MIB):
                got += data
            await sending
            return bytes(got)

    @pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
    async def test_file_system_that_cannot(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, code: int
    ) -> None:
        monkeypatch.setattr(os, "sendfile", refusing(code))
        assert await self.received(path, ByteRange(5, 9 * MIB)) == BYTES[5 : 9 * MIB]
        with pytest.raises(FileCut):
            await self.received(path, ByteRange(len(BYTES) - 1, len(BYTES) + 1))

    async def test_disk_that_fails(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "sendfile", refusing(errno.EIO))
        with pytest.raises(OSError, match="refused") as caught:
            await self.received(path, ByteRange(0, 10))
        assert caught.value.errno == errno.EIO

    async def test_connection_that_breaks(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "sendfile", refusing(errno.ETIMEDOUT))
        with pytest.raises(ConnectionResetError):
            await self.received(path, ByteRange(0, 10))

    async def test_cancelled_while_it_waits(self, path: Path) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, path.open("rb") as file:
            ours.setblocking(False)
            before = len(list(Path("/proc/self/fd").iterdir()))
            whole = Sending(file.fileno(), 0, len(BYTES))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await send_file(ours.fileno(), whole)
            theirs.settimeout(0)
            assert whole.sent == len(theirs.recv(len(BYTES), socket.MSG_WAITALL))
            assert len(list(Path("/proc/self/fd").iterdir())) == before


def refusing(code: int) -> Callable[..., int]:
    def refuse(*_: int) -> int:
        raise OSError(code, "refused")

    return refuse
