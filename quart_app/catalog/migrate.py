"""Brings a database to the newest revision of the tables."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

from quart_app.catalog.engine import writing

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["migrate"]

# `alembic.context` is one for the whole process.
_alembic = threading.Lock()


async def migrate(url: str) -> None:
    """Runs the migrations that are missing, in one transaction.

    Processes that start at once wait for each other: the transaction excludes other writers.
    Cancelled, it still ends what it began.

    Args:
        url: Of the database; a new one is made.
    """
    await asyncio.to_thread(_migrate, url)


def _migrate(url: str) -> None:
    # Alembic loads its scripts from disk in between, so it has a thread and a loop to itself.
    with _alembic:
        asyncio.run(_upgrade(url))


async def _upgrade(url: str) -> None:
    async with writing(url).begin() as connection:
        await connection.run_sync(_run)


def _run(connection: Connection) -> None:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "quart_app.catalog:migrations")
    command.upgrade(config, "head")
