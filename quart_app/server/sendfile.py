"""Parts of files from the page cache to a socket, past the process (`sendfile(2)`)."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass

from hypercorn.events import Event
from hypercorn.protocol.events import Event as StreamEvent

from quart_app.models import KIB
from quart_app.streaming import FileCut, SharedDescriptor, in_thread

__all__ = ["CAN_SEND_FILES", "FileBody", "FileData", "Sending", "send_file"]

#: Whether the system has the call at all.
CAN_SEND_FILES = hasattr(os, "sendfile")

#: What `sendfile` says of a file system that cannot serve it.
NOT_HERE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}

#: What it says of a connection that broke, beside what is a `ConnectionError` anyway.
GONE = {errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOTCONN, errno.ETIMEDOUT}

#: What is copied at once from such a one.
COPY_SIZE = 256 * KIB


@dataclass
class Sending:
    """A part of a file on its way.

    Attributes:
        descriptor: Open for reading; its position is not used.
        start: Where the part begins, in bytes.
        size: Its size in bytes.
        sent: Bytes of it that the kernel has taken.
    """

    descriptor: int
    start: int
    size: int
    sent: int = 0

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True)
class FileBody(StreamEvent):
    """A part of a file as a part of an answer; what Hypercorn's `Body` is for bytes."""

    stream_id: int
    file: Sending


@dataclass(frozen=True)
class FileData(Event):
    """A part of a file for the connection; what Hypercorn's `RawData` is for bytes."""

    file: Sending


async def send_file(connected: int, file: Sending) -> None:
    """Send a part of a file; returns once the kernel has all of it.

    The file is read in a thread, as a disk may be slow; the socket is waited for on the loop, as a
    client may be slower. The loop's transport knows nothing of it, so the socket is worked on
    through a descriptor of its own, and whatever was written to the transport is to be out.

    Args:
        connected: Descriptor of a non-blocking stream socket, not used when this has returned.
        file: What to send.

    Raises:
        FileCut: The file is shorter than the range.
        Overloaded: No thread can be had; nothing was sent.
        OSError: As `os.sendfile` does; a `ConnectionError` if the other side is gone.
    """
    own = SharedDescriptor(os.dup(connected))
    try:
        while True:
            await in_thread(_send_some, own, file)
            if file.sent == file.size:
                return
            await _writable(own)
    finally:
        own.close()


def _send_some(connected: SharedDescriptor, file: Sending) -> None:
    """Send until the socket takes no more, blocking for the file alone."""
    with connected.used() as number:
        while left := file.size - file.sent:
            try:
                step = _send_once(number, file.descriptor, file.start + file.sent, left)
            except BlockingIOError:
                return
            if step == 0:
                raise FileCut(f"{left} bytes are missing")
            file.sent += step


def _send_once(connected: int, file: int, position: int, size: int) -> int:
    try:
        return os.sendfile(connected, file, position, size)
    except OSError as error:
        if error.errno in GONE:
            raise ConnectionResetError from error
        if error.errno not in NOT_HERE:
            raise
        data = os.pread(file, min(size, COPY_SIZE), position)
        return os.write(connected, data) if data else 0


async def _writable(connected: SharedDescriptor) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    with connected.used() as number:
        loop.add_writer(number, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_writer(number)
