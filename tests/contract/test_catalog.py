"""What every catalog promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import CatalogError, CatalogUnavailable
from quart_app.models import GIB
from tests.contract.catalogs import MICROSECOND, NOW, SECOND, listed, make, walk

if TYPE_CHECKING:
    from quart_app.catalog import Catalog

pytestmark = pytest.mark.asyncio(loop_scope="function")


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
    assert not await catalog.remove(["nothing"])
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
        assert await catalog.remove([page[-1].id]) or page[-1] in stay
        await catalog.remove([go.pop().id])
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
    assert await catalog.remove([just.id])
    assert await catalog.expired(now=NOW, limit=9) == [long_ago]


async def test_one_of_many_removes_a_file(catalog: Catalog) -> None:
    file, other = make(), make()
    await catalog.add([file, other])
    removed = await asyncio.gather(*(catalog.remove([file.id]) for _ in range(20)))
    assert sorted(map(len, removed)) == [0] * 19 + [1]
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
            assert await catalog.remove([file.id])
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
    for call in (catalog.add([file]), catalog.remove([file.id]), catalog.get(file.id, now=NOW)):
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
            asyncio.create_task(catalog.remove([gone.id])),
            asyncio.create_task(listed(catalog)),
        ]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in cancelled:
            task.cancel()
        await asyncio.gather(*cancelled, return_exceptions=True)
        await asyncio.gather(*kept)
        await catalog.add([make()])  # after it, no earlier write is under way
        await catalog.remove(["nothing"])
        known = await catalog.known([file.id for file in batch])
        assert len(known) in {0, 2}
        if not cancelled[0].cancelled():
            assert len(known) == 2
        if not cancelled[1].cancelled():
            assert await catalog.known([gone.id]) == set()


async def test_newest_are_listed_expired_or_not(catalog: Catalog) -> None:
    assert await catalog.newest(5) == []
    files = [make(NOW - timedelta(days=days), expires_at=NOW) for days in range(4)]
    await catalog.add(files)
    assert await catalog.newest(3) == [file.id for file in files[:3]]
    assert await catalog.count_expired(now=NOW) == 4
    assert await catalog.count_expired(now=NOW - timedelta(seconds=1)) == 0


async def test_removes_many_at_once(catalog: Catalog) -> None:
    files = [make() for _ in range(1100)]
    await catalog.add(files)
    ids = [file.id for file in files]
    removed = await asyncio.gather(*(catalog.remove([*ids[:1000], "nothing"]) for _ in range(3)))
    assert set().union(*removed) == set(ids[:1000])
    assert sum(map(len, removed)) == 1000
    assert await catalog.known(ids) == set(ids[1000:])
    assert await catalog.remove([]) == set()


async def test_adopts_an_identity(catalog: Catalog) -> None:
    await catalog.adopt("0123456789abcdef")
    assert await catalog.identity() == "0123456789abcdef"
