"""Bytes at rest: the driver contract, the drivers, and the store above them."""

from quart_app.storage.contract import (
    Blob,
    Driver,
    FileReading,
    Found,
    PathReporting,
    Reader,
    SpaceReporting,
)
from quart_app.storage.local import MIN_FREE, LocalDriver
from quart_app.storage.memory import MemoryDriver
from quart_app.storage.store import Measured, Store, Stored, new_key

__all__ = [
    "MIN_FREE",
    "Blob",
    "Driver",
    "FileReading",
    "Found",
    "LocalDriver",
    "Measured",
    "MemoryDriver",
    "PathReporting",
    "Reader",
    "SpaceReporting",
    "Store",
    "Stored",
    "new_key",
]
