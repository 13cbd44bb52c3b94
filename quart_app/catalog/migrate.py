"""Brings a database to the newest revision of the tables."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

from quart_app.catalog.engine import writing

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["migrate"]

# `alembic.context` is one for the whole process.
_alembic = threading.Lock()


def migrate(path: Path) -> None:
    """Runs the migrations that are missing, in one transaction.

    Processes that start at once wait for each other: the transaction excludes other writers.

    Args:
        path: The database; a new one is made.
    """
    with _alembic, writing(path).begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "quart_app.catalog:migrations")
        command.upgrade(config, "head")
