"""Disks that are full, fill up, take no writes or stall."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import MIB, content, curl, form, form_type, session, sha256, upload, wire
from tests.e2e.mounts import on_tmpfs, read_only, remounted
from tests.server_process import SERVE, ServerProcess
from tests.waiting import eventually, settled_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Start = Callable[..., ServerProcess]

DISK_MIB = 24

BYTES = content(32 * MIB)


def free(server: ServerProcess) -> int:
    status = os.statvfs(server.see(server.data))
    return status.f_bavail * status.f_frsize


def answer(server: ServerProcess, *headers: str, body: bytes = b"") -> tuple[int, str]:
    with wire(server) as client:
        client.request("POST /upload", *headers)
        client.send(body)
        return client.problem()


def chunked(server: ServerProcess, data: bytes, *headers: str) -> tuple[int, str]:
    """Uploads without saying how much it will be."""
    with wire(server) as client:
        client.request("POST /upload", "Transfer-Encoding: chunked", *headers)
        for start in range(0, len(data), MIB):
            client.chunk(data[start : start + MIB])
        client.chunk(b"")
        response = client.response()
        return response.status, json.loads(response.read()).get("code", "")


@pytest.fixture(scope="module")
def on_small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    directory = tmp_path_factory.mktemp("small")
    with ServerProcess(directory, wrapper=on_tmpfs(directory / "data", DISK_MIB)) as server:
        yield server


class TestSmallDisk:
    @pytest.fixture
    def server(self, on_small_disk: ServerProcess) -> Iterator[ServerProcess]:
        """The server, whose disk is empty before and after."""
        yield on_small_disk
        with session(on_small_disk) as client:
            for key in on_small_disk.rows():
                assert client.delete(f"/files/{key}").status_code == 204
        on_small_disk.assert_settled()

    def test_declared_length_that_does_not_fit(self, server: ServerProcess) -> None:
        length = f"Content-Length: {len(BYTES)}"
        before_the_body = answer(server, length)
        after_the_body = answer(server, length, body=BYTES)
        as_form = answer(server, length, f"Content-Type: {form_type}", body=BYTES)
        assert before_the_body == after_the_body == as_form == (507, "no_space")

    def test_curl_reads_the_answer(self, server: ServerProcess, tmp_path: Path) -> None:
        path = tmp_path / "large"
        path.write_bytes(BYTES)
        said = json.loads(curl("-T", path, "-H", "Expect:", f"{server.base_url}/upload/"))
        assert (said["status"], said["code"]) == (507, "no_space")

    def test_disk_that_fills_up(self, server: ServerProcess) -> None:
        before = free(server)
        with session(server) as client:
            kept = upload(client, BYTES[: 4 * MIB])
            for _ in range(3):
                assert chunked(server, BYTES) == (507, "no_space")
                assert before - free(server) < 5 * MIB  # what was written is given back
                assert client.get("/readyz").status_code == 200
            again = upload(client, BYTES[: 8 * MIB])
            for file, size in ((kept, 4 * MIB), (again, 8 * MIB)):
                assert client.get(file["url"]).content == BYTES[:size]

    def test_form_of_which_the_last_file_does_not_fit(self, server: ServerProcess) -> None:
        parts = [(f'name="{n}"; filename="{n}"', BYTES[: 8 * MIB]) for n in range(4)]
        said = chunked(server, form(*parts), f"Content-Type: {form_type}")
        assert said == (507, "no_space")
        assert (server.blobs(), server.rows()) == ({}, {})

    def test_many_that_do_not_fit_together(self, server: ServerProcess) -> None:
        with ThreadPoolExecutor(6) as pool:
            said = list(pool.map(lambda _: chunked(server, BYTES[: 8 * MIB]), range(6)))
        assert set(said) <= {(201, ""), (507, "no_space")}
        assert len(server.rows()) == said.count((201, ""))
        with session(server) as client:
            for file in client.get("/files").json()["files"]:
                assert client.get(file["url"]).content == BYTES[: 8 * MIB]
            upload(client, b"small")

    def test_not_a_byte_left(self, server: ServerProcess) -> None:
        with session(server) as client:
            kept = upload(client, BYTES[:MIB])
            filler = server.see(server.data) / "filler"
            filler.write_bytes(bytes(free(server)))
            assert client.post("/upload", content=b"small").status_code == 507
            assert client.get(kept["url"]).content == BYTES[:MIB]
            assert client.get("/files").json()["files"] == [kept]
            # What helps is to delete, which must not itself fail for want of space.
            assert client.delete(f"/files/{kept['id']}").status_code == 204
            filler.unlink()
            upload(client, b"small")


class TestReadOnly:
    def test_at_the_start(self, tmp_path: Path) -> None:
        data = tmp_path / "data"
        command = [*read_only(data), *SERVE, "--port=0", f"--data={data}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("quart-app: ")
        assert f"cannot use {data}: Read-only file system" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_in_the_middle(self, start: Start, tmp_path: Path) -> None:
        data = tmp_path / "data"
        server = start(settings={"data": data}, wrapper=on_tmpfs(data / "files", 16))
        with session(server) as client:
            kept = upload(client, BYTES[:MIB])
            remounted(server, data / "files", "ro")
            for _ in range(2):
                refused = client.post("/upload", content=BYTES[:MIB])
                assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
            assert client.get(kept["url"]).content == BYTES[:MIB]
            remounted(server, data / "files", "rw")
            assert client.get("/readyz").status_code == 200
            upload(client, BYTES[:MIB])


def test_data_that_is_no_directory(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_text("a file")
    command = [*SERVE, "--port=0", f"--data={data}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("quart-app: ")
    assert f"cannot use {data}: Not a directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


class TestStalledDisk:
    UPLOADS = 20
    SIZE = 16 * MIB
    MOST_HELD = 4 * MIB

    @pytest.fixture
    def works(self, tmp_path: Path) -> Path:
        path = tmp_path / "disk-works"
        path.touch()
        return path

    @pytest.fixture
    def server(self, start: Start, works: Path) -> Iterator[ServerProcess]:
        variables = {"TEST_FAULTS": "stalled_disk", "TEST_DISK_WORKS": str(works)}
        yield start(variables=variables)
        works.touch()

    def test_uploads_hold_little(self, server: ServerProcess, works: Path) -> None:
        """The rest stays with the clients, and all of it arrives once the disk works again."""
        bodies = [content(self.SIZE, seed) for seed in range(self.UPLOADS)]
        sent = [0] * self.UPLOADS

        async def send(number: int) -> str:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"POST /upload HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % self.SIZE)
            for start in range(0, self.SIZE, 65536):
                writer.write(bodies[number][start : start + 65536])
                await writer.drain()
                sent[number] += 65536
            said = (await reader.read()).partition(b"\r\n\r\n")[2]
            writer.close()
            return str(json.loads(said)["files"][0]["sha256"])

        async def measured() -> tuple[int, list[str]]:
            before = server.memory("VmRSS")
            works.unlink()
            sending = asyncio.gather(*map(send, range(self.UPLOADS)))
            await asyncio.to_thread(settled_value, lambda: sum(sent))
            held = server.memory("VmRSS") - before
            with session(server) as client:
                assert await asyncio.to_thread(client.get, "/healthz")
            works.touch()
            return held, await sending

        with session(server) as client:
            upload(client, bodies[0])
        held, digests = asyncio.run(measured())
        assert digests == list(map(sha256, bodies))
        assert held / self.UPLOADS <= self.MOST_HELD, f"{held / self.UPLOADS / MIB:.2f} MiB each"

    def test_clients_that_give_up(self, server: ServerProcess, works: Path) -> None:
        """A write that hangs outlives its client; its file goes as soon as it ends."""
        works.unlink()
        for _ in range(5):
            with wire(server) as client:
                client.request(
                    "POST /upload", f"Content-Length: {len(BYTES)}", body=BYTES[: 2 * MIB]
                )
                eventually(server.parts, what="the upload begins")
                client.reset()
        with session(server) as client:
            assert client.get("/healthz").status_code == 200
        works.touch()
