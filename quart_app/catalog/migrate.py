"""Brings a database to the newest revision of the tables."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from quart_app.catalog.engine import writing
from quart_app.errors import CatalogError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection

__all__ = ["migrate"]

# `alembic.context` is one for the whole process.
_alembic = threading.Lock()


def migrate(path: Path) -> None:
    """Runs the migrations that are missing, in one transaction.

    Processes that start at once wait for each other: the transaction excludes other writers.

    Args:
        path: The database; a new one is made, readable by owner and group only.

    Raises:
        CatalogError: The database is no catalog, or one of a newer version.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640))
    with _alembic, writing(path).begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", "quart_app.catalog:migrations")
        _check(connection, ScriptDirectory.from_config(config))
        command.upgrade(config, "head")


def _check(connection: Connection, scripts: ScriptDirectory) -> None:
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if revision is None and inspect(connection).get_table_names():
        raise CatalogError("The catalog is a database of another program.")
    if revision is not None and revision not in known:
        newest = scripts.get_current_head()
        raise CatalogError(
            f"The catalog has revision {revision}, made by a newer version of quart-app; this one "
            f"knows revisions up to {newest}. Install the newer version, or restore a backup."
        )
