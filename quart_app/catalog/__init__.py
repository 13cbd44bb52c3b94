"""What is known of the stored files: one contract, in memory and in a SQL database."""

from __future__ import annotations

from quart_app.catalog.contract import Catalog
from quart_app.catalog.memory import MemoryCatalog
from quart_app.catalog.sql import SqlCatalog

__all__ = ["Catalog", "MemoryCatalog", "SqlCatalog"]
