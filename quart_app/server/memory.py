"""Returns memory that transfers have freed to the operating system."""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path

from quart_app.models import MIB
from quart_app.streaming import in_thread

__all__ = ["return_memory"]

#: Interval between two looks at the memory of the process.
INTERVAL_SECONDS = 5.0

#: Growth that is left alone.
SLACK_SIZE = 32 * MIB

STATM = Path("/proc/self/statm")


async def return_memory() -> None:
    """Trim the heap whenever it has grown, until cancelled; return at once without glibc.

    glibc keeps freed memory for as long as something small lies behind it on the heap, so the
    buffers of a crowd would stay with the process for ever. `malloc_trim(3)` returns every free
    page, and takes a millisecond where it finds none. Fewer arenas (`MALLOC_ARENA_MAX`) do not
    help, and a low `M_MMAP_THRESHOLD` costs a page fault for every page of every buffer.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:
        return
    least = _resident_size()
    while True:
        await asyncio.sleep(INTERVAL_SECONDS)
        if _resident_size() > least + SLACK_SIZE:
            await in_thread(trim, 0)
        least = min(least, _resident_size())


def _resident_size() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
