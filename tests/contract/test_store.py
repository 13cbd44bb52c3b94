"""What the store adds to every driver: keys, limits and digests, once."""

from __future__ import annotations

import asyncio
import hashlib
import re
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import DigestMismatch, NoSpace, NotFound, TooLarge
from quart_app.models import MIB
from quart_app.storage import LocalDriver, Measured, MemoryDriver, Store, new_key

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from quart_app.storage import Driver

pytestmark = pytest.mark.asyncio(loop_scope="function")

LIMIT = 3 * MIB


@pytest.fixture(params=["local", "memory"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Driver:
    return LocalDriver(tmp_path) if request.param == "local" else MemoryDriver(8 * MIB)


@pytest.fixture
def store(driver: Driver) -> Store:
    return Store(driver, max_size=LIMIT)


async def stream(size: int, chunk_size: int = 65_536) -> AsyncGenerator[bytes]:
    for start in range(0, size, chunk_size):
        yield b"x" * min(chunk_size, size - start)


async def blobs(driver: Driver) -> list[str]:
    return [key async for keys in driver.walk() for key in keys]


def nothing(_: Measured) -> bytes:
    return b""


def digest(size: int, algorithm: str) -> bytes:
    return hashlib.new(algorithm, b"x" * size).digest()


@pytest.mark.parametrize("size", [0, 1, 65_536, MIB + 1, LIMIT])
async def test_what_is_stored_is_described(store: Store, size: int) -> None:
    async with store.put(stream(size), {}, nothing) as stored:
        assert stored.measured.size == size
        assert stored.measured.sha256 == digest(size, "sha256").hex()
        stored.blob.keep()
    async with store.open(stored.measured.key) as reader:
        assert reader.size == size
    await store.delete([stored.measured.key])
    with pytest.raises(NotFound):
        async with store.open(stored.measured.key):
            pass


@pytest.mark.parametrize("size", [LIMIT + 1, 2 * LIMIT])
@pytest.mark.parametrize("chunk_size", [1000, 65_536, 16 * MIB])
async def test_too_large(store: Store, driver: Driver, size: int, chunk_size: int) -> None:
    with pytest.raises(TooLarge):
        async with store.put(stream(size, chunk_size), {}, nothing):
            pytest.fail("it is too large")
    assert await blobs(driver) == []


@pytest.mark.parametrize("size", [0, 5, MIB, 2 * MIB + 1])
async def test_digests(store: Store, driver: Driver, size: int) -> None:
    right = {"sha-256": digest(size, "sha256"), "sha-512": digest(size, "sha512")}
    async with store.put(stream(size), right, nothing) as stored:
        assert stored.measured.size == size
    for name in right:
        wrong = right | {name: digest(size + 1, name.replace("-", ""))}
        with pytest.raises(DigestMismatch):
            async with store.put(stream(size), wrong, nothing):
                pytest.fail("it differs")
    assert await blobs(driver) == []


class TestAdmission:
    @pytest.mark.parametrize("size", [None, 0, 1, LIMIT])
    async def test_of_what_may_fit(self, store: Store, size: int | None) -> None:
        await store.admit(size)

    @pytest.mark.parametrize("size", [LIMIT + 1, 10**30])
    async def test_of_what_is_too_large(self, store: Store, size: int) -> None:
        with pytest.raises(TooLarge):
            await store.admit(size)

    async def test_of_what_does_not_fit_the_space(self) -> None:
        store = Store(MemoryDriver(2 * MIB), max_size=LIMIT)
        await store.admit(2 * MIB)
        with pytest.raises(NoSpace):
            await store.admit(2 * MIB + 1)


async def test_keys() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(re.fullmatch("[a-z2-7]{26}", key) for key in keys)


async def test_same_bytes_at_once_are_different_blobs(store: Store) -> None:
    async def put() -> str:
        async with store.put(stream(1000), {}, nothing) as stored:
            stored.blob.keep()
        return stored.measured.key

    assert len(set(await asyncio.gather(*(put() for _ in range(20))))) == 20
