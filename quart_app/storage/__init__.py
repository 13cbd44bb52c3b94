"""Bytes at rest: the driver contract, the drivers, and the store above them."""

from quart_app.storage.contract import (
    Blob,
    Driver,
    FileReading,
    Known,
    PathReporting,
    Reader,
    SpaceReporting,
)
from quart_app.storage.local import LocalDriver
from quart_app.storage.memory import MemoryDriver
from quart_app.storage.store import Store, Stored, new_key

__all__ = [
    "Blob",
    "Driver",
    "FileReading",
    "Known",
    "LocalDriver",
    "MemoryDriver",
    "PathReporting",
    "Reader",
    "SpaceReporting",
    "Store",
    "Stored",
    "new_key",
]
