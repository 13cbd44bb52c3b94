"""What the catalog in SQLite promises to processes that share it, at once or one after another."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from quart_app.catalog import SqlCatalog
from tests.contract.catalogs import NOW, count_rows, listed, locked, make
from tests.server_process import ROOT

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier
    from pathlib import Path


@pytest.mark.asyncio(loop_scope="function")
async def test_opens_again_with_its_rows(path: Path) -> None:
    file = make()
    for _ in range(3):
        catalog = await SqlCatalog.open(path)
        if await catalog.get(file.id, now=NOW) is None:
            await catalog.add([file])
        assert await listed(catalog) == [file]
        await catalog.close()


@pytest.mark.asyncio(loop_scope="function")
async def test_waits_for_another_that_makes_the_database(path: Path) -> None:
    with locked(path):
        opening = asyncio.create_task(SqlCatalog.open(path))
        await asyncio.sleep(0.1)
        assert not opening.done()
    await (await opening).close()


@pytest.mark.asyncio(loop_scope="function")
async def test_opens_many_at_once_in_one_process(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number % 3}.db" for number in range(12)]
    catalogs = await asyncio.gather(*map(SqlCatalog.open, paths))
    await asyncio.gather(*(catalog.add([make()]) for catalog in catalogs))
    assert [len(await listed(catalog)) for catalog in catalogs] == [4] * 12
    await asyncio.gather(*(catalog.close() for catalog in catalogs))


PROCESSES = 4
ROUNDS = 6


def open_at_once(directory: Path, process: int, barrier: Barrier) -> None:
    async def use(path: Path) -> None:
        catalog = await SqlCatalog.open(path)
        await catalog.add([replace(make(), id=f"{process}")])
        await catalog.close()

    for number in range(ROUNDS):
        barrier.wait(timeout=15)
        asyncio.run(use(directory / f"{number}.db"))


def test_processes_may_make_one_database_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(PROCESSES)
    processes = [
        spawn.Process(target=open_at_once, args=(tmp_path, number, barrier))
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert [count_rows(tmp_path / f"{number}.db") for number in range(ROUNDS)] == (
        [PROCESSES] * ROUNDS
    )


def test_rows_survive_a_process_that_is_killed(path: Path) -> None:
    command = [sys.executable, "-m", "tests.contract.catalog_writer", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "added\n"
        process.send_signal(signal.SIGKILL)
    assert count_rows(path) == 20
