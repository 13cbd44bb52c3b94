"""What every catalog promises, and what the one in SQLite does underneath."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing, contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from quart_app.catalog import Catalog, MemoryCatalog, Position, SqlCatalog, engine, sql, tables
from quart_app.errors import CatalogError, CatalogUnavailable, NoSpace
from quart_app.models import GIB, File

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from multiprocessing.synchronize import Barrier

    from sqlalchemy import ClauseElement, Connection

pytestmark = pytest.mark.anyio

NOW = datetime(2031, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)

_numbers = count()


def make(created_at: datetime = NOW, expires_at: datetime | None = None) -> File:
    number = next(_numbers)
    return File(
        id=f"file-{number:08}",
        name="Grüße 👋.txt",
        size=number,
        media_type="text/plain; charset=utf-8",
        sha256=f"{number:064x}",
        created_at=created_at,
        expires_at=expires_at,
    )


async def walk(catalog: Catalog, limit: int) -> AsyncIterator[list[File]]:
    after = None
    while page := await catalog.page(limit=limit, after=after, now=NOW):
        yield page
        after = Position(page[-1].created_at, page[-1].id)


async def listed(catalog: Catalog) -> list[File]:
    return await catalog.page(limit=10_000, after=None, now=NOW)


def assert_nothing_runs() -> None:
    """No task but those of the test runner, no thread of a connection."""
    assert {task for task in asyncio.all_tasks() if "TestRunner" not in repr(task)} == set()
    for thread in threading.enumerate():
        if "connection_worker" in thread.name:
            thread.join(timeout=5)  # it may not have returned yet from closing its connection
            assert not thread.is_alive()


async def group_started(database: SqlCatalog) -> None:
    async with asyncio.timeout(5):
        while not database._adds._waiting:
            await asyncio.sleep(0)
        while database._adds._waiting:
            await asyncio.sleep(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqlCatalog]:
    catalog = await SqlCatalog.open(f"sqlite:///{path}")
    yield catalog
    await catalog.close()
    assert_nothing_runs()


@pytest.fixture(params=["memory", "sqlite"])
async def catalog(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Catalog]:
    memory = request.param == "memory"
    catalog = MemoryCatalog() if memory else await SqlCatalog.open(f"sqlite:///{path}")
    yield catalog
    await catalog.close()
    assert_nothing_runs()


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The back door."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def count_rows(path: Path) -> int:
    with raw(path) as connection:
        number: int = connection.execute("SELECT count(*) FROM files").fetchone()[0]
    return number


# Every catalog


async def test_keeps_every_field_exactly(catalog: Catalog) -> None:
    east = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    some = [
        replace(make(), size=5 * 1024 * GIB, expires_at=NOW + MICROSECOND),
        replace(make(east), name="", size=0, media_type=""),
        replace(make(), name="a'b\"c\\d%e\x00f\n日本"),
    ]
    await catalog.add(some)
    assert [await catalog.get(file.id, now=NOW) for file in some] == some


async def test_finds_nothing_under_an_unknown_id(catalog: Catalog) -> None:
    assert await catalog.get("nothing", now=NOW) is None
    assert not await catalog.remove("nothing")
    assert await catalog.known(["nothing"]) == set()
    assert await listed(catalog) == []


async def test_adds_nothing_when_given_nothing(catalog: Catalog) -> None:
    await catalog.add([])
    assert await listed(catalog) == []


async def test_lists_newest_first_then_by_id(catalog: Catalog) -> None:
    times = [NOW, NOW - SECOND, NOW, NOW + MICROSECOND, NOW - SECOND, NOW]
    files = [make(time) for time in times]
    await catalog.add(files)
    ordered = sorted(files, key=lambda file: (file.created_at, file.id), reverse=True)
    assert await listed(catalog) == ordered
    for limit in (1, 2, 5, 6, 7):
        pages = [page async for page in walk(catalog, limit)]
        assert [file for page in pages for file in page] == ordered
        assert all(len(page) == limit for page in pages[:-1])


async def test_pages_meet_what_stays_once_while_others_come_and_go(catalog: Catalog) -> None:
    stay = [make(NOW - index // 3 * SECOND) for index in range(30)]
    go = [make(NOW - index // 3 * SECOND) for index in range(30)]
    await catalog.add([*stay, *go])
    met = []
    async for page in walk(catalog, 4):
        met += page
        assert await catalog.remove(page[-1].id) or page[-1] in stay
        await catalog.remove(go.pop().id)
        await catalog.add([make(NOW + SECOND), make(page[-1].created_at)])
        stay = [file for file in stay if file != page[-1]]
    assert len({file.id for file in met}) == len(met)
    assert {file.id for file in stay} <= {file.id for file in met}


async def test_hides_what_is_expired(catalog: Catalog) -> None:
    never, later = make(), make(expires_at=NOW + MICROSECOND)
    just, long_ago = make(expires_at=NOW), make(expires_at=NOW - 1000 * SECOND)
    await catalog.add([never, just, later, long_ago])
    assert await catalog.get(later.id, now=NOW) == later
    assert await catalog.get(just.id, now=NOW) is None
    assert await listed(catalog) == [later, never]
    assert await catalog.expired(now=NOW, limit=9) == [long_ago, just]
    assert await catalog.expired(now=NOW, limit=1) == [long_ago]
    assert await catalog.known([just.id, never.id]) == {just.id, never.id}
    assert await catalog.remove(just.id)
    assert await catalog.expired(now=NOW, limit=9) == [long_ago]


async def test_one_of_many_removes_a_file(catalog: Catalog) -> None:
    file, other = make(), make()
    await catalog.add([file, other])
    removed = await asyncio.gather(*(catalog.remove(file.id) for _ in range(20)))
    assert sorted(removed) == [False] * 19 + [True]
    assert await catalog.get(file.id, now=NOW) is None
    assert await listed(catalog) == [other]


async def test_adds_all_or_none(catalog: Catalog) -> None:
    old, new, twice = make(), make(), make()
    await catalog.add([old])
    for batch in ([new, old], [old, new], [new, twice, replace(twice, name="again")]):
        with pytest.raises(CatalogError) as caught:
            await catalog.add(batch)
        assert caught.value.detail == ""
    assert await listed(catalog) == [old]
    await catalog.add([new, twice])
    assert await catalog.get(old.id, now=NOW) == old


async def test_a_bad_batch_fails_alone(catalog: Catalog) -> None:
    taken = make()
    await catalog.add([taken])
    batches = [[make(), make()] for _ in range(20)]
    batches[3].append(taken)
    batches[11].append(taken)
    results = await asyncio.gather(*map(catalog.add, batches), return_exceptions=True)
    assert [index for index, result in enumerate(results) if result] == [3, 11]
    added = {file.id for index in set(range(20)) - {3, 11} for file in batches[index]}
    assert {file.id for file in await listed(catalog)} == added | {taken.id}


async def test_knows_any_number_of_ids(catalog: Catalog) -> None:
    files = [make() for _ in range(2_500)]
    await catalog.add(files[::2])
    ids = [file.id for file in files]
    assert await catalog.known(ids) == set(ids[::2])
    assert await catalog.known([]) == set()


async def test_a_write_is_read_by_whoever_comes_after(catalog: Catalog) -> None:
    async def use() -> None:
        for _ in range(20):
            file = make()
            await catalog.add([file])
            assert await catalog.get(file.id, now=NOW) == file
            assert await catalog.remove(file.id)
            assert await catalog.get(file.id, now=NOW) is None

    await asyncio.gather(*(use() for _ in range(10)))
    assert await listed(catalog) == []


async def test_is_closed_once_and_for_all(catalog: Catalog) -> None:
    await catalog.ping()
    file = make()
    calls = [asyncio.ensure_future(call) for call in (catalog.add([file]), catalog.ping())]
    await asyncio.sleep(0)
    await asyncio.gather(catalog.close(), catalog.close())
    await asyncio.gather(*calls)
    for call in (catalog.add([file]), catalog.remove(file.id), catalog.get(file.id, now=NOW)):
        with pytest.raises(CatalogUnavailable):
            await call
    with pytest.raises(CatalogUnavailable):
        await catalog.ping()


@pytest.mark.parametrize("neighbours", [0, 3])
async def test_cancelled_calls_leave_nothing_behind(catalog: Catalog, neighbours: int) -> None:
    for steps in range(40):
        gone, batch = make(), [make(), make()]
        await catalog.add([gone])
        kept = [asyncio.create_task(catalog.add([make()])) for _ in range(neighbours)]
        cancelled = [
            asyncio.create_task(catalog.add(batch)),
            asyncio.create_task(catalog.remove(gone.id)),
            asyncio.create_task(listed(catalog)),
        ]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        await asyncio.gather(*kept)
        await catalog.add([make()])  # after it, no earlier write is under way
        await catalog.remove("nothing")
        known = await catalog.known([file.id for file in batch])
        assert len(known) in {0, 2}
        if not cancelled[0].cancelled():
            assert len(known) == 2
        if not cancelled[1].cancelled():
            assert await catalog.known([gone.id]) == set()


# What is underneath


async def test_columns_are_the_fields_of_file() -> None:
    assert tables.files.columns.keys() == [field.name for field in fields(File)]


async def test_migrations_make_the_tables(database: SqlCatalog) -> None:
    def compare(connection: Connection) -> Any:
        return compare_metadata(MigrationContext.configure(connection), tables.metadata)

    assert await database._writer.run(compare) == []


async def test_times_are_microseconds_since_the_epoch(database: SqlCatalog, path: Path) -> None:
    await database.add([make(datetime(1970, 1, 2, 0, 0, 0, 1, tzinfo=UTC))])
    with raw(path) as connection:
        row = connection.execute("SELECT created_at, typeof(created_at) FROM files").fetchone()
    assert row == (86_400_000_001, "integer")


async def test_writer_is_durable_and_readers_only_read(database: SqlCatalog) -> None:
    def pragma(name: str) -> Callable[[Connection], object]:
        return lambda connection: connection.exec_driver_sql(f"PRAGMA {name}").scalar()

    assert await database._writer.run(pragma("journal_mode")) == "wal"
    assert await database._writer.run(pragma("synchronous")) == 2  # FULL
    assert await database._writer.run(pragma("foreign_keys")) == 1
    assert await database._readers.run(pragma("query_only")) == 1


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (sql.PAGE, "SCAN files USING INDEX files_by_position"),
        (sql.NEXT_PAGE, "SEARCH files USING INDEX files_by_position"),
        (sql.EXPIRED, "SEARCH files USING INDEX files_by_expiry"),
        (sql.GET, "SEARCH files USING PRIMARY KEY"),
    ],
)
async def test_queries_use_an_index(
    database: SqlCatalog, path: Path, query: ClauseElement, index: str
) -> None:
    compiled = str(query.compile(dialect=sqlite_dialect()))
    with raw(path) as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {compiled}", [0] * compiled.count("?"))
        assert [row[3].split(" (")[0] for row in plan] == [index]


async def test_calls_that_wait_for_a_commit_share_the_next(
    database: SqlCatalog, path: Path
) -> None:
    commits: list[Connection] = []
    listener = commits.append
    event.listen(Engine, "commit", listener)
    files = [make() for _ in range(50)]
    with locked(path):
        calls = [asyncio.create_task(database.add([file])) for file in files]
        await group_started(database)
        calls += [asyncio.create_task(database.add([make(), make()])) for _ in range(50)]
        await asyncio.sleep(0)
        assert count_rows(path) == 0
    await asyncio.gather(*calls)
    event.remove(Engine, "commit", listener)
    assert len(commits) == 2
    assert count_rows(path) == 150


async def test_a_call_cancelled_while_it_waits_for_its_group_is_taken_back(
    database: SqlCatalog, path: Path
) -> None:
    first, second, third = make(), make(), make()
    with locked(path):
        calls = [asyncio.create_task(database.add([first]))]
        await group_started(database)
        calls += [asyncio.create_task(database.add([file])) for file in (second, third)]
        await asyncio.sleep(0)
        calls[0].cancel()
        calls[1].cancel()
        await asyncio.sleep(0)
    await calls[2]
    assert await database.known([first.id, second.id, third.id]) == {first.id, third.id}


async def test_readers_do_not_wait_for_a_writer(database: SqlCatalog, path: Path) -> None:
    file = make()
    await database.add([file])
    with locked(path):
        assert await database.get(file.id, now=NOW) == file
        assert await listed(database) == [file]


async def test_closes_after_all_tasks_were_cancelled(path: Path) -> None:
    for steps in range(0, 60, 3):
        catalog = await SqlCatalog.open(f"sqlite:///{path}")
        await asyncio.gather(catalog.remove("nothing"), *(catalog.ping() for _ in range(9)))
        calls = [asyncio.create_task(catalog.add([make(), make()])) for _ in range(3)]
        calls += [asyncio.create_task(catalog.ping()) for _ in range(9)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if "TestRunner" not in repr(task):
                task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await catalog.close()
        assert_nothing_runs()
        assert count_rows(path) % 2 == 0


# Trouble


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_SECONDS", 0.1)


async def test_a_lock_held_too_long_makes_it_unavailable(
    impatient: None, database: SqlCatalog, path: Path
) -> None:
    file = make()
    with locked(path):
        calls = [database.add([file]), database.add([make()]), database.remove(file.id)]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, CatalogUnavailable)
        with pytest.raises(CatalogUnavailable):
            await SqlCatalog.open(f"sqlite:///{path}")
    await database.add([file])
    assert await listed(database) == [file]


async def test_a_full_disk_is_no_space(
    database: SqlCatalog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw(path) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    monkeypatch.setattr(
        engine, "WRITE_PRAGMAS", [*engine.WRITE_PRAGMAS, f"max_page_count={pages + 10}"]
    )
    catalog = await SqlCatalog.open(f"sqlite:///{path}")
    small = make()
    much = [[make() for _ in range(1000)] for _ in range(2)]
    results = await asyncio.gather(
        *map(catalog.add, (much[0], [small], much[1])), return_exceptions=True
    )
    assert [type(result) for result in results] == [NoSpace, type(None), NoSpace]
    assert await listed(catalog) == [small]
    assert await catalog.remove(small.id)
    await catalog.close()


async def test_a_disk_that_turns_read_only_makes_it_unavailable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make()
    catalog = await SqlCatalog.open(f"sqlite:///{path}")
    await catalog.add([file])
    await catalog._writer.run(lambda connection: connection.exec_driver_sql("PRAGMA query_only=ON"))
    for call in (catalog.add([make()]), catalog.remove(file.id)):
        with pytest.raises(CatalogUnavailable) as caught:
            await call
        assert caught.value.detail == ""
    assert await listed(catalog) == [file]
    await catalog.close()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of somebody else, who lets us read it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        user = os.geteuid()
        yield directory
        os.seteuid(user)
        directory.chmod(0o755)


def drop_rights(directory: Path) -> None:
    for path in (*directory.iterdir(), directory):
        path.chmod(path.stat().st_mode & 0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)  # nobody


async def test_cannot_be_made_in_a_read_only_directory(unprivileged: Path) -> None:
    drop_rights(unprivileged)
    with pytest.raises(CatalogUnavailable):
        await SqlCatalog.open(f"sqlite:///{unprivileged}/catalog.db")


async def test_cannot_be_opened_when_read_only(unprivileged: Path) -> None:
    url = f"sqlite:///{unprivileged}/catalog.db"
    await (await SqlCatalog.open(url)).close()
    drop_rights(unprivileged)
    with pytest.raises(CatalogUnavailable):
        await SqlCatalog.open(url)


async def test_cannot_be_made_where_no_directory_is(path: Path) -> None:
    with pytest.raises(CatalogUnavailable):
        await SqlCatalog.open(f"sqlite:///{path.parent}/no/catalog.db")


async def test_refuses_what_is_no_database(path: Path) -> None:
    path.write_bytes(b"This is not a database. " * 100)
    with pytest.raises(CatalogError):
        await SqlCatalog.open(f"sqlite:///{path}")
    assert path.read_bytes() == b"This is not a database. " * 100


async def test_refuses_a_database_of_a_newer_version(path: Path) -> None:
    await (await SqlCatalog.open(f"sqlite:///{path}")).close()
    with raw(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from the future'")
    with pytest.raises(CatalogError):
        await SqlCatalog.open(f"sqlite:///{path}")


async def test_ping_fails_when_the_table_cannot_be_read(database: SqlCatalog, path: Path) -> None:
    with raw(path) as connection:
        connection.execute("DROP TABLE files")
    with pytest.raises(CatalogUnavailable):
        await database.ping()


# Processes


async def test_opens_again_with_its_rows(path: Path) -> None:
    file = make()
    for _ in range(3):
        catalog = await SqlCatalog.open(f"sqlite:///{path}")
        if await catalog.get(file.id, now=NOW) is None:
            await catalog.add([file])
        assert await listed(catalog) == [file]
        await catalog.close()


async def test_waits_for_another_that_makes_the_database(path: Path) -> None:
    with locked(path):
        opening = asyncio.create_task(SqlCatalog.open(f"sqlite:///{path}"))
        await asyncio.sleep(0.1)
        assert not opening.done()
    await (await opening).close()


async def test_opens_many_at_once_in_one_process(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/{number % 3}.db" for number in range(12)]
    catalogs = await asyncio.gather(*map(SqlCatalog.open, urls))
    await asyncio.gather(*(catalog.add([make()]) for catalog in catalogs))
    assert [len(await listed(catalog)) for catalog in catalogs] == [4] * 12
    await asyncio.gather(*(catalog.close() for catalog in catalogs))


PROCESSES = 4
ROUNDS = 6


def open_at_once(directory: Path, process: int, barrier: Barrier) -> None:
    async def use(path: Path) -> None:
        catalog = await SqlCatalog.open(f"sqlite:///{path}")
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


ADD_AND_WAIT = """
import asyncio, sys
from test_catalog import SqlCatalog, make

async def main():
    catalog = await SqlCatalog.open(sys.argv[1])
    await asyncio.gather(*(catalog.add([make(), make()]) for _ in range(10)))
    print("added", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_rows_survive_a_process_that_is_killed(path: Path) -> None:
    command = [sys.executable, "-c", ADD_AND_WAIT, f"sqlite:///{path}"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "added\n"
        process.send_signal(signal.SIGKILL)
    assert count_rows(path) == 20
