"""Catalogs that leave nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from quart_app.catalog import Catalog, MemoryCatalog, SqlCatalog
from tests.contract.catalogs import assert_nothing_runs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.db"


@pytest_asyncio.fixture
async def database(path: Path) -> AsyncIterator[SqlCatalog]:
    catalog = await SqlCatalog.open(path)
    yield catalog
    await catalog.close()
    assert_nothing_runs()


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def catalog(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Catalog]:
    catalog = MemoryCatalog() if request.param == "memory" else await SqlCatalog.open(path)
    yield catalog
    await catalog.close()
    assert_nothing_runs()
