"""The tables, as the newest migration leaves them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Index, MetaData, String, Table
from sqlalchemy.types import TypeDecorator

from quart_app.models import from_microseconds, to_microseconds

if TYPE_CHECKING:
    from sqlalchemy import Dialect

__all__ = ["Moment", "files", "identities", "metadata"]


class Moment(TypeDecorator[datetime]):
    """An aware time, kept as whole microseconds since the epoch: exact, and in order anywhere."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> int | None:
        """Turns a time into microseconds."""
        return None if value is None else to_microseconds(value)

    def process_result_value(self, value: int | None, _dialect: Dialect) -> datetime | None:
        """Turns microseconds into a time."""
        return None if value is None else from_microseconds(value)


metadata = MetaData()

# The columns are the fields of `File`, in their order.
# Without a rowid SQLite keeps one tree keyed by id, not two: a page less to write for each file.
files = Table(
    "files",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("media_type", String, nullable=False),
    Column("sha256", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("expires_at", Moment),
    sqlite_with_rowid=False,
)
Index("files_by_position", files.c.created_at, files.c.id)
# Partial, for most files never expire.
_dated = files.c.expires_at.is_not(None)
Index("files_by_expiry", files.c.expires_at, sqlite_where=_dated, postgresql_where=_dated)

# One row: what the catalog shares with the stored files that it lists.
identities = Table("identities", metadata, Column("identity", String, primary_key=True))
