"""Parts of files from the page cache to a socket, past the process (`sendfile(2)`)."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypercorn.events import Event
from hypercorn.protocol.events import Event as StreamEvent

from quart_app.models import KIB
from quart_app.streaming import FileCut, in_thread

if TYPE_CHECKING:
    from quart_app.streaming import FileRange

__all__ = ["CAN_SEND_FILES", "FileBody", "FileData", "send_file"]

#: Whether the system has the call at all.
CAN_SEND_FILES = hasattr(os, "sendfile")

#: What `sendfile` says of a file system that cannot serve it.
NOT_HERE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}

#: What is copied at once from such a one.
COPY_SIZE = 256 * KIB


@dataclass(frozen=True)
class FileBody(StreamEvent):
    """A part of a file as a part of an answer; what Hypercorn's `Body` is for bytes."""

    stream_id: int
    file: FileRange


@dataclass(frozen=True)
class FileData(Event):
    """A part of a file for the connection; what Hypercorn's `RawData` is for bytes."""

    file: FileRange


async def send_file(connected: int, file: FileRange) -> None:
    """Send a part of a file; returns once the kernel has all of it.

    The file is read in a thread, as a disk may be slow; the socket is waited for on the loop, as a
    client may be slower. The loop's transport knows nothing of it, so the socket is worked on
    through a descriptor of its own, and whatever was written to the transport is to be out.

    Args:
        connected: Descriptor of a non-blocking stream socket, not used when this has returned.
        file: What to send.

    Raises:
        FileCut: The file is shorter than the range.
        OSError: As `os.sendfile` does; a `ConnectionError` if the other side is gone.
    """
    own = os.dup(connected)
    try:
        position = file.wanted.start
        while True:
            position += await in_thread(
                _send_some, own, file.descriptor, position, file.wanted.stop - position
            )
            if position == file.wanted.stop:
                return
            await _writable(own)
    finally:
        os.close(own)


def _send_some(connected: int, file: int, position: int, size: int) -> int:
    """Send until the socket takes no more, blocking for the file alone; gives how much it took."""
    sent = 0
    while sent < size:
        try:
            step = _send_once(connected, file, position + sent, size - sent)
        except BlockingIOError:
            break
        if step == 0:
            raise FileCut(f"{size - sent} bytes are missing")
        sent += step
    return sent


def _send_once(connected: int, file: int, position: int, size: int) -> int:
    try:
        return os.sendfile(connected, file, position, size)
    except OSError as error:
        if error.errno not in NOT_HERE:
            raise
        data = os.pread(file, min(size, COPY_SIZE), position)
        return os.write(connected, data) if data else 0


async def _writable(descriptor: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)
