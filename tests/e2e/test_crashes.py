"""`kill -9` at the worst moments: what was acknowledged stays, what was not is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING

import httpx

from tests.e2e.clients import MIB, content, form, form_type, session, upload, wire
from tests.server_process import SERVE
from tests.waiting import comes_to_nothing, eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.server_process import ServerProcess

    Start = Callable[..., ServerProcess]

BYTES = content(8 * MIB)

TWO_DAYS_SECONDS = 172_800


def make_old(path: Path) -> None:
    then = path.stat().st_mtime - TWO_DAYS_SECONDS
    os.utime(path, (then, then))


def orphans(server: ServerProcess) -> set[str]:
    return server.blobs().keys() - server.rows().keys()


def set_orphans_aside(server: ServerProcess) -> None:
    """As the sweep does by itself a day later."""
    for key in orphans(server):
        make_old(server.blobs()[key])
    command = (sys.executable, "-m", "quart_app", "sweep", "--force", f"--data={server.data}")
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    assert orphans(server) == set()


def test_killed_in_the_middle_of_uploads(start: Start, tmp_path: Path) -> None:
    settings = {"data": tmp_path / "data"}
    first = start(settings=settings, command=SERVE)
    with session(first) as client:
        kept = [upload(client, BYTES[:size]) for size in (0, 1, MIB, 8 * MIB)]
    many = form(('name="a"; filename="a"', BYTES), ('name="b"; filename="b"', BYTES))
    with wire(first) as raw, wire(first) as form_:
        raw.request("POST /upload", f"Content-Length: {len(BYTES)}", body=BYTES[: 3 * MIB])
        headers = [f"Content-Type: {form_type}", f"Content-Length: {len(many)}"]
        form_.request("POST /upload", *headers, body=many[: 12 * MIB])
        # One of the form's two files is whole, and waits for the other.
        eventually(lambda: (len(first.blobs()), len(first.parts())) == (len(kept) + 3, 2))
        first.kill()
    second = start(settings=settings)
    comes_to_nothing(second.parts)
    assert len(orphans(second)) == 1  # may be acknowledged, for all that the disk shows
    set_orphans_aside(second)
    with session(second) as client:
        assert client.get("/files").json()["files"] == kept[::-1]
        for file in kept:
            assert client.get(file["url"]).content == BYTES[: file["size"]]


def test_killed_as_soon_as_it_has_answered(start: Start, tmp_path: Path) -> None:
    settings = {"data": tmp_path / "data"}
    server = start(settings=settings)
    with session(server) as client:
        file = upload(client, BYTES)
        server.kill()
    with session(start(settings=settings)) as client:
        assert client.get(file["url"]).content == BYTES


def test_killed_among_many_small_uploads(start: Start, tmp_path: Path) -> None:
    """Every file that is listed is whole, and every acknowledged one is listed."""
    settings = {"data": tmp_path / "data"}
    server = start(settings=settings)
    acknowledged: list[str] = []

    def keep_uploading(number: int) -> None:
        with suppress(httpx.TransportError), session(server) as client:
            while True:
                acknowledged.append(upload(client, BYTES[number : number + 70_000])["id"])

    threads = [Thread(target=keep_uploading, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(acknowledged) > 50, what="uploads are going on")
    server.kill()
    for thread in threads:
        thread.join()
    second = start(settings=settings)
    comes_to_nothing(second.parts)
    set_orphans_aside(second)
    assert second.blobs().keys() == second.rows().keys()
    assert set(acknowledged) <= second.rows().keys()
    with session(second) as client:
        for file_id in second.rows():
            assert len(client.get(f"/files/{file_id}").content) == 70_000


def test_sweep_at_the_start(start: Start, tmp_path: Path) -> None:
    """Unfinished writes are removed, old orphans set aside, everything else is left alone."""
    settings = {"data": tmp_path / "data"}
    first = start(settings=settings)
    with session(first) as client:
        kept = upload(client, BYTES)
    first.stop()
    files = tmp_path / "data" / "files"
    shard = first.blobs()[kept["id"]].parent
    old, young = shard / (shard.name + "a" * 24), shard / (shard.name + "b" * 24)
    unfinished = shard / (shard.name + "c" * 24 + ".aaaaaaaa.part")
    strange = [files / ".DS_Store", files / "lost+found", shard / "notes.txt"]
    for path in (old, young, unfinished, *strange):
        path.write_bytes(BYTES)
    make_old(old)
    second = start(settings=settings)
    eventually(lambda: not old.exists() and not unfinished.exists(), what="the sweep")
    assert young.exists()
    assert all(path.exists() for path in strange)
    [aside] = files.glob(f"aside/*/{old.name}")
    assert aside.read_bytes() == BYTES
    with session(second) as client:
        assert client.get(kept["url"]).content == BYTES
    for path in (young, strange[2]):
        path.unlink()


def test_sweep_on_a_timer_spares_what_is_being_written(start: Start) -> None:
    server = start(settings={"sweep_interval": 0.05})
    with wire(server) as client:
        client.request("POST /upload", f"Content-Length: {len(BYTES)}", body=BYTES[: 2 * MIB])
        eventually(server.parts, what="the upload begins")
        shard = server.data / "files" / "zz"
        shard.mkdir(exist_ok=True)
        for round_ in "abc":
            leftover = shard / f"zz{24 * round_}.{8 * round_}.part"
            leftover.write_bytes(b"left by a crash")
            eventually(lambda path=leftover: not path.exists())  # type: ignore[misc]
        client.send(BYTES[2 * MIB :])
        assert client.response().status == 201
    with session(server) as after:
        [file] = after.get("/files").json()["files"]
        assert after.get(file["url"]).content == BYTES
