"""Accidents with the data: each line of docs/accidents.md on a real server."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import MIB, content, session, upload
from tests.e2e.mounts import entered, on_tmpfs
from tests.server_process import SERVE
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.server_process import ServerProcess

    Start = Callable[..., ServerProcess]

BYTES = content(2 * MIB)
SIZES = [0, 1, 70_000, MIB, 2 * MIB]


def run(data: Path, command: str, *flags: str) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "quart_app", command, *flags, f"--data={data}"]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60)


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    lines = [line.partition(": ") for line in done.stdout.splitlines()]
    return {name: int(value) for name, _, value in lines}


def refused(data: Path) -> str:
    """The one line with which a service that does not start ends."""
    arguments = [*SERVE, "--port=0", f"--data={data}"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("quart-app: ")
    return line


def blobs(data: Path) -> set[str]:
    return {path.name for path in data.glob("files/??/*")}


def make_old(data: Path) -> None:
    for path in data.glob("files/??/*"):
        then = path.stat().st_mtime - 2 * 86_400
        os.utime(path, (then, then))


def listed(server: ServerProcess) -> list[dict[str, Any]]:
    with session(server) as client:
        files: list[dict[str, Any]] = client.get("/files?limit=1000").json()["files"]
        return files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def filled(start: Start, data: Path) -> list[dict[str, Any]]:
    """Files of a service that has ended, the oldest first."""
    server = start(settings={"data": data})
    with session(server) as client:
        files = [upload(client, BYTES[:size], name=f"Grüße {size}.bin") for size in SIZES]
    server.stop()
    return files


def assert_all_there(server: ServerProcess, files: list[dict[str, Any]]) -> None:
    assert listed(server) == files[::-1]
    with session(server) as client:
        for file in files:
            assert client.get(file["url"]).content == BYTES[: file["size"]]


class TestCatalogAtTheStart:
    @pytest.mark.parametrize("how", ["removed", "empty", "new"])
    def test_lost_and_recovered(
        self, start: Start, data: Path, filled: list[dict[str, Any]], how: str
    ) -> None:
        catalog = data / "catalog.db"
        catalog.unlink()
        if how == "empty":
            catalog.touch()
        if how == "new":
            other = start()
            other.stop()
            shutil.copy(other.data / "catalog.db", catalog)
        make_old(data)
        before = blobs(data)
        for _ in range(2):
            assert "quart-app recover" in refused(data)
        assert "quart-app recover" in run(data, "sweep", "--force").stderr
        assert blobs(data) == before
        assert counts(run(data, "recover", "--dry-run"))["listed"] == len(filled)
        assert catalog.exists() == (how != "removed")
        assert counts(run(data, "recover")) == {
            "listed": len(filled), "unrecorded": 0, "expired": 0, "damaged": 0,
        }  # fmt: skip
        assert counts(run(data, "recover"))["listed"] == 0
        assert_all_there(start(settings={"data": data}), filled)

    def test_of_other_files(self, start: Start, data: Path, filled: list[dict[str, Any]]) -> None:
        other = start()
        with session(other) as client:
            upload(client, b"elsewhere")
        other.stop()
        shutil.copy(other.data / "catalog.db", data / "catalog.db")
        make_old(data)
        before = blobs(data)
        for said in (refused(data), run(data, "sweep").stderr, run(data, "recover").stderr):
            assert "belongs to other stored files" in said
        assert blobs(data) == before

    def test_from_an_older_backup(
        self, start: Start, data: Path, filled: list[dict[str, Any]], tmp_path: Path
    ) -> None:
        backup = shutil.copy(data / "catalog.db", tmp_path / "backup.db")
        server = start(settings={"data": data})
        with session(server) as client:
            newer = [upload(client, BYTES[:9], name=f"newer {number}") for number in range(20)]
        server.stop()
        shutil.copy(backup, data / "catalog.db")
        make_old(data)
        server = start(settings={"data": data})
        eventually(lambda: "sweep stopped" in server.err.read_text(), what="the sweep stops")
        assert blobs(data) == {file["id"] for file in [*filled, *newer]}
        done = run(data, "sweep")
        assert (done.returncode, counts(done)["orphans"]) == (1, 20)
        assert blobs(data) == {file["id"] for file in [*filled, *newer]}
        server.kill()
        assert counts(run(data, "recover"))["listed"] == 20
        assert_all_there(start(settings={"data": data}), [*filled, *newer][: len(filled)] + newer)

    def test_of_a_newer_version(self, data: Path, filled: list[dict[str, Any]]) -> None:
        with closing(sqlite3.connect(data / "catalog.db")) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        said = refused(data)
        assert "revision 9999" in said
        assert "Install the newer version, or restore a backup" in said

    def test_of_version_0_1(self, start: Start, data: Path, filled: list[dict[str, Any]]) -> None:
        """Neither the catalog nor the files carry an identity yet."""
        with closing(sqlite3.connect(data / "catalog.db")) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
            connection.execute("DROP TABLE identities")
        (data / "files" / "quart-app.identity").unlink()
        assert_all_there(start(settings={"data": data}), filled)
        assert (data / "files" / "quart-app.identity").exists()


class TestFilesAtTheStart:
    @pytest.mark.parametrize("how", ["removed", "volume not mounted"])
    def test_missing(
        self, start: Start, data: Path, filled: list[dict[str, Any]], how: str
    ) -> None:
        moved = (data / "files").rename(data / "moved")
        if how == "volume not mounted":
            (data / "files").mkdir()
        assert "Mount the volume" in refused(data)
        before = set(data.iterdir())
        for command in ("sweep", "recover"):
            done = run(data, command)
            assert done.returncode == 1
            assert re.search("Mount the volume|belongs to other", done.stderr)
        assert set(data.iterdir()) == before
        shutil.rmtree(data / "files", ignore_errors=True)
        moved.rename(data / "files")
        assert_all_there(start(settings={"data": data}), filled)

    def test_of_another_service(
        self, start: Start, data: Path, filled: list[dict[str, Any]]
    ) -> None:
        other = start()
        other.stop()
        shutil.rmtree(data / "files")
        shutil.copytree(other.data / "files", data / "files")
        assert "belongs to other stored files" in refused(data)

    def test_copied_without_their_records(
        self, start: Start, data: Path, filled: list[dict[str, Any]]
    ) -> None:
        """`cp` and `rsync -a` leave attributes behind, so a backup by them has none."""
        (data / "catalog.db").unlink()
        for path in data.glob("files/??/*"):
            bytes_only = path.read_bytes()
            path.unlink()
            path.write_bytes(bytes_only)
        done = counts(run(data, "recover"))
        assert (done["listed"], done["unrecorded"]) == (len(filled), len(filled))
        found = {file["id"]: file for file in listed(start(settings={"data": data}))}
        for file in filled:
            again = found[file["id"]]
            assert (again["sha256"], again["size"]) == (file["sha256"], file["size"])
            assert again["name"] == file["id"]

    def test_cut(self, start: Start, data: Path, filled: list[dict[str, Any]]) -> None:
        (data / "catalog.db").unlink()
        [path] = data.glob(f"files/??/{filled[-1]['id']}")
        os.truncate(path, 10)
        done = counts(run(data, "recover"))
        assert (done["listed"], done["damaged"]) == (len(filled) - 1, 1)

    def test_one_missing(self, start: Start, data: Path, filled: list[dict[str, Any]]) -> None:
        [path] = data.glob(f"files/??/{filled[3]['id']}")
        path.unlink()
        server = start(settings={"data": data})
        with session(server) as client:
            url = filled[3]["url"]
            for answer in (
                client.get(url),
                client.head(url),
                client.get(f"/files/{path.name}/info"),
            ):
                assert answer.status_code == 404
            found = [line for line in server.logs() if line["event"] == "bytes are missing"]
            assert [line["id"] for line in found] == [path.name] * 3
            assert client.delete(url.rpartition("/")[0]).status_code == 204
        server._lines_seen = len(server.logs())


class TestUnderTheRunningService:
    @pytest.mark.parametrize("what", ["catalog.db", "catalog.db-wal", "catalog.db-shm", "files"])
    @pytest.mark.parametrize("how", ["removed", "replaced"])
    def test_nothing_is_acknowledged(self, start: Start, data: Path, what: str, how: str) -> None:
        server = start(settings={"data": data})
        with session(server) as client:
            kept = upload(client, BYTES)
            path = data / what
            moved = path.rename(data / "moved")
            if how == "replaced":
                (shutil.copytree if what == "files" else shutil.copy)(moved, path)
            for _ in range(2):
                answer = client.post("/upload", content=BYTES)
                assert answer.status_code == 503
                assert answer.json()["code"] in {"storage_unavailable", "catalog_unavailable"}
                assert client.delete(f"/files/{kept['id']}").status_code == 503
            assert client.get("/healthz").status_code == 200
            assert client.get("/readyz").status_code == 503
            if what == "catalog.db" or (what, how) == ("files", "removed"):
                assert client.get(kept["url"]).status_code == 503
        server.kill()

    def test_it_goes_on_when_the_data_is_back(self, start: Start, data: Path) -> None:
        server = start(settings={"data": data})
        with session(server) as client:
            kept = upload(client, BYTES)
            moved = (data / "files").rename(data / "moved")
            assert client.get("/readyz").status_code == 503
            moved.rename(data / "files")
            assert client.get("/readyz").status_code == 200
            assert client.get(kept["url"]).content == BYTES
            upload(client, BYTES)

    def test_volume_mounted_late(self, start: Start, data: Path) -> None:
        """The files of a service that began without its volume are not swept from the volume."""
        settings = {"data": data, "sweep_interval": 0.2}
        server = start(settings=settings, wrapper=on_tmpfs(data / "elsewhere", 16))
        with session(server) as client:
            upload(client, BYTES)
            volume = server.see(data / "files" / "zz")
            entered(server, "mount", "-t", "tmpfs", "tmpfs", str(data / "files"))
            volume.mkdir()
            (volume / ("zz" + "a" * 24)).write_bytes(b"a file of the volume")
            assert client.post("/upload", content=BYTES).status_code == 503
            assert client.get("/readyz").status_code == 503
            eventually(lambda: "sweep failed" in server.err.read_text(), what="a sweep")
            assert (volume / ("zz" + "a" * 24)).exists()
        server.kill()


class TestClock:
    def test_orphans_are_kept_for_a_week_after_they_were_set_aside(
        self, start: Start, data: Path, filled: list[dict[str, Any]]
    ) -> None:
        """Also when the clock made them look old; and what has an entry comes back."""
        today = date.today()
        for age, name in ((6, "a"), (9, "b")):
            directory = data / "files" / "aside" / (today - timedelta(days=age)).isoformat()
            directory.mkdir(parents=True)
            (directory / (name * 26)).write_bytes(b"orphan")
        [path] = data.glob(f"files/??/{filled[2]['id']}")
        path.rename(directory / path.name)
        server = start(settings={"data": data})
        with session(server) as client:
            assert client.get(filled[2]["url"]).content == BYTES[: SIZES[2]]
        eventually(path.exists, what="the sweep")
        aside = {path.name for path in data.glob("files/aside/*/*")}
        assert aside == {"a" * 26}
        assert_all_there(server, filled)


def test_a_dry_run_changes_nothing(start: Start, data: Path, filled: list[dict[str, Any]]) -> None:
    orphan = data / "files" / "zz" / ("zz" + "a" * 24)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"orphan")
    unfinished = orphan.with_name("zz" + "b" * 24 + ".aaaaaaaa.part")
    unfinished.write_bytes(b"unfinished")
    for path in (orphan, unfinished):
        os.utime(path, (0, 0))
    expected = {"expired": 0, "unfinished": 1, "orphans": 1, "set aside": 1, "restored": 0,
                "removed": 0, "refused": 0}  # fmt: skip
    assert counts(run(data, "sweep", "--dry-run")) == expected
    assert orphan.exists()
    assert unfinished.exists()
    assert counts(run(data, "sweep")) == expected
    assert not orphan.exists()
    assert not unfinished.exists()


def test_locked_catalog(start: Start, data: Path, filled: list[dict[str, Any]]) -> None:
    """Whoever holds the lock delays a request, and a start, once and not once a step."""
    server = start(settings={"data": data})
    with closing(sqlite3.connect(data / "catalog.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        with session(server) as client:
            answer = client.delete(f"/files/{filled[0]['id']}")
            assert (answer.status_code, answer.json()["code"]) == (503, "catalog_busy")
            assert answer.elapsed.total_seconds() < 9
            upload_ = client.post("/upload", content=BYTES)
            assert (upload_.status_code, upload_.json()["code"]) == (503, "catalog_busy")
            assert blobs(data) == {file["id"] for file in filled}  # nothing was written
        assert "database is locked" in refused(data)
        connection.execute("ROLLBACK")
    assert_all_there(server, filled)


def test_mode_of_everything_is_private(start: Start, data: Path) -> None:
    server = start(settings={"data": data})
    with session(server) as client:
        upload(client, BYTES)
    modes = {path: path.stat().st_mode & 0o027 for path in [data, *data.rglob("*")]}
    assert set(modes.values()) == {0}, modes


def test_full_disk_can_always_be_emptied(start: Start, data: Path) -> None:
    """Files are deleted one by one while uploads try to use whatever that frees."""
    server = start(settings={"data": data}, wrapper=on_tmpfs(data, 30))
    filler = server.see(data / "filler")
    with session(server) as client:
        kept = [upload(client, b"small") for _ in range(9)]
        status = os.statvfs(server.see(data))
        filler.write_bytes(bytes(status.f_bavail * status.f_frsize))
        for file in kept:
            assert client.delete(f"/files/{file['id']}").status_code == 204
            for size in (1, 4096, 200_000, MIB):
                assert client.post("/upload", content=BYTES[:size]).status_code == 507
        filler.unlink()
        upload(client, BYTES)
