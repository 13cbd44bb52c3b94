"""What the catalog in SQLite does underneath, and in trouble."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite import dialect as sqlite_dialect

from quart_app.catalog import SqlCatalog, engine, sql, tables
from quart_app.catalog.reserve import RESERVE_SIZE
from quart_app.errors import CatalogError, CatalogUnavailable, NoSpace
from quart_app.models import File
from quart_app.streaming import start_in_thread
from quart_app.streaming.threads import THREADS
from tests.contract.catalogs import (
    NOW,
    assert_nothing_runs,
    count_rows,
    listed,
    locked,
    make,
    raw,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sqlalchemy import ClauseElement, Connection

pytestmark = pytest.mark.asyncio(loop_scope="function")


async def group_started(database: SqlCatalog) -> None:
    async with asyncio.timeout(5):
        while not database._adds._waiting:
            await asyncio.sleep(0)
        while database._adds._waiting:
            await asyncio.sleep(0)


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
        catalog = await SqlCatalog.open(path)
        await asyncio.gather(catalog.remove(["nothing"]), *(catalog.ping() for _ in range(9)))
        calls = [asyncio.create_task(catalog.add([make(), make()])) for _ in range(3)]
        calls += [asyncio.create_task(catalog.ping()) for _ in range(9)]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await catalog.close()
        assert_nothing_runs()
        assert count_rows(path) % 2 == 0


async def test_a_cancelled_job_is_waited_for(database: SqlCatalog) -> None:
    begun, end = threading.Event(), threading.Event()

    def job(_connection: Connection) -> None:
        begun.set()
        assert end.wait(10)

    call = asyncio.create_task(database._readers.run(job))
    await asyncio.to_thread(begun.wait, 10)
    for _ in range(3):
        call.cancel()
        await asyncio.sleep(0.01)
        assert not call.done()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_does_not_wait_for_the_threads_of_files(database: SqlCatalog) -> None:
    end = threading.Event()
    stalled = [start_in_thread(end.wait, 30) for _ in range(THREADS)]
    try:
        async with asyncio.timeout(10):
            file = make()
            await database.add([file])
            assert await database.get(file.id, now=NOW) == file
            assert await database.remove([file.id])
    finally:
        end.set()
        await asyncio.gather(*stalled)


@pytest.mark.parametrize(
    "name", ["what?mode=memory", "a%20b", "%3Fcache", "a#b", "a b'c", "Grüße 👋", "\udcff", ":x@y:"]
)
async def test_lives_in_a_directory_of_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "catalog.db"
    path.parent.mkdir()
    file = make()
    for _ in range(2):
        catalog = await SqlCatalog.open(path)
        if not await listed(catalog):
            await catalog.add([file])
        assert await listed(catalog) == [file]
        await catalog.close()
        assert list(tmp_path.iterdir()) == [path.parent]
        assert sorted(path.parent.iterdir()) == [path, path.with_name("catalog.db-reserve")]


@pytest.mark.parametrize("name", ["catalog.db", ":memory:", "file:catalog.db?mode=memory"])
async def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    catalog = await SqlCatalog.open(Path(name))
    monkeypatch.chdir("/")
    await catalog.add([make()])
    await catalog.close()
    assert count_rows(tmp_path / name) == 1


# Trouble


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_SECONDS", 0.1)


async def test_a_lock_held_too_long_makes_it_unavailable(
    impatient: None, database: SqlCatalog, path: Path
) -> None:
    file = make()
    with locked(path):
        calls = [database.add([file]), database.add([make()]), database.remove([file.id])]
        for error in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(error, CatalogUnavailable)
        with pytest.raises(CatalogUnavailable):
            await SqlCatalog.open(path)
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
    catalog = await SqlCatalog.open(path)
    small = make()
    much = [[make() for _ in range(1000)] for _ in range(2)]
    results = await asyncio.gather(
        *map(catalog.add, (much[0], [small], much[1])), return_exceptions=True
    )
    assert [type(result) for result in results] == [NoSpace, type(None), NoSpace]
    assert await listed(catalog) == [small]
    assert await catalog.remove([small.id])
    await catalog.close()


async def test_a_disk_that_turns_read_only_makes_it_unavailable(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make()
    catalog = await SqlCatalog.open(path)
    await catalog.add([file])
    await catalog._writer.run(lambda connection: connection.exec_driver_sql("PRAGMA query_only=ON"))
    for call in (catalog.add([make()]), catalog.remove([file.id])):
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
        await SqlCatalog.open(unprivileged / "catalog.db")


async def test_cannot_be_opened_when_read_only(unprivileged: Path) -> None:
    path = unprivileged / "catalog.db"
    await (await SqlCatalog.open(path)).close()
    drop_rights(unprivileged)
    with pytest.raises(CatalogUnavailable):
        await SqlCatalog.open(path)


async def test_cannot_be_made_where_no_directory_is(path: Path) -> None:
    with pytest.raises(CatalogUnavailable):
        await SqlCatalog.open(path.parent / "no" / "catalog.db")


async def test_refuses_what_is_no_database(path: Path) -> None:
    path.write_bytes(b"This is not a database. " * 100)
    with pytest.raises(CatalogError):
        await SqlCatalog.open(path)
    assert path.read_bytes() == b"This is not a database. " * 100


async def test_refuses_a_database_of_a_newer_version(path: Path) -> None:
    await (await SqlCatalog.open(path)).close()
    with raw(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(CatalogError, match=r"revision 9999.*Install the newer version"):
        await SqlCatalog.open(path)


async def test_ping_fails_when_the_table_cannot_be_read(database: SqlCatalog, path: Path) -> None:
    with raw(path) as connection:
        connection.execute("DROP TABLE files")
    with pytest.raises(CatalogUnavailable):
        await database.ping()


class TestFullDisk:
    """Rows are removed with space that nothing else may use."""

    @pytest.fixture
    def reserve(self, path: Path) -> Path:
        return path.with_name("catalog.db-reserve")

    @pytest.fixture
    def full(self, monkeypatch: pytest.MonkeyPatch, reserve: Path) -> list[bool]:
        """A disk on which, while the list says so, nothing but the reserve is free."""
        state = [False]
        statvfs = os.statvfs

        class Status:
            f_frsize = 1
            f_bavail = 0

        monkeypatch.setattr(os, "statvfs", lambda path: Status if state[0] else statvfs(path))
        return state

    @pytest_asyncio.fixture
    async def catalog(
        self, database: SqlCatalog, reserve: Path, full: list[bool], monkeypatch: pytest.MonkeyPatch
    ) -> SqlCatalog:
        delete = database._delete

        async def only_without_reserve(batches: list[Sequence[str]]) -> list[set[str]]:
            if full[0] and reserve.exists():
                raise NoSpace
            return await delete(batches)

        monkeypatch.setattr(database._removals, "_commit", only_without_reserve)
        return database

    async def test_can_be_emptied(
        self, catalog: SqlCatalog, reserve: Path, full: list[bool]
    ) -> None:
        files = [make() for _ in range(5)]
        await catalog.add(files)
        assert reserve.stat().st_size == RESERVE_SIZE
        full[0] = True
        for file in files[:3]:
            assert await catalog.remove([file.id])
            assert not reserve.exists()
            with pytest.raises(NoSpace):  # until the space is held again
                await catalog.add([make()])
        full[0] = False
        assert await catalog.remove([files[3].id])
        assert reserve.stat().st_size == RESERVE_SIZE
        await catalog.add([make()])

    async def test_the_reserve_of_a_process_is_the_reserve_of_all(
        self, catalog: SqlCatalog, path: Path, full: list[bool]
    ) -> None:
        other = await SqlCatalog.open(path)
        file = make()
        await other.add([file])
        full[0] = True
        assert await catalog.remove([file.id])
        with pytest.raises(NoSpace):
            await other.add([make()])
        full[0] = False
        await other.add([make()])
        await other.close()


class TestReplaced:
    """A database that was swapped under the catalog gets no acknowledgement."""

    @pytest.mark.parametrize("how", ["removed", "moved", "another", "-wal", "-shm"])
    async def test_database(self, database: SqlCatalog, path: Path, how: str) -> None:
        file = make()
        await database.add([file])
        moved = path.with_name("moved")
        path.with_name(f"catalog.db{how if how.startswith('-') else ''}").rename(moved)
        if how == "another":
            shutil.copy(moved, path)
        if how == "removed":
            moved.unlink()
        with pytest.raises(CatalogUnavailable):
            await database.add([make()])
        with pytest.raises(CatalogUnavailable):
            await database.remove([file.id])
        for call in (database.get(file.id, now=NOW), listed(database), database.ping()):
            with pytest.raises(CatalogUnavailable):
                await call
        if how in {"moved", "another"}:
            moved.rename(path)
            assert await listed(database) == [file]


async def test_modes_are_private(database: SqlCatalog, path: Path) -> None:
    await database.add([make()])
    assert {file.stat().st_mode & 0o027 for file in path.parent.iterdir()} == {0}


async def test_identity_stays_and_is_each_catalogs_own(tmp_path: Path) -> None:
    identities = []
    for name in ("a.db", "b.db", "a.db"):
        catalog = await SqlCatalog.open(tmp_path / name)
        identities.append(await catalog.identity())
        await catalog.close()
    assert identities[0] == identities[2] != identities[1]


async def test_refuses_a_database_of_another_program(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE songs (title)")
    with pytest.raises(CatalogError, match="another program"):
        await SqlCatalog.open(path)
    with raw(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("songs",)]
