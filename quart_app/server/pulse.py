"""The pipe by which a launcher sees that its worker has come to serve, and that its loop turns."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

__all__ = ["Pulse", "beat", "beat_interval"]

#: A worker writes this once it accepts connections.
READY = b"1"

#: A worker writes this each time.
BEAT = b"."

#: Longest time between two beats in seconds.
MAX_INTERVAL_SECONDS = 1.0

#: Beats that fit into the time after which a worker counts as frozen.
BEATS_IN_TIMEOUT = 5

#: Bytes read at once.
READ_SIZE = 4096


def beat_interval(timeout: float) -> float:
    """Return the seconds between two beats of a worker that is frozen after `timeout` seconds."""
    return min(timeout / BEATS_IN_TIMEOUT, MAX_INTERVAL_SECONDS) or MAX_INTERVAL_SECONDS


def beat(descriptor: int, interval: float) -> None:
    """Write a beat now, and again every `interval` seconds for as long as the running loop turns.

    Args:
        descriptor: The worker's end of a pulse. It is made non-blocking: a stopped launcher that
            does not read must not stop its workers.
        interval: In seconds.
    """
    os.set_blocking(descriptor, False)
    loop = asyncio.get_running_loop()

    def again() -> None:
        with suppress(OSError):
            os.write(descriptor, BEAT)
        loop.call_later(interval, again)

    again()


class Pulse:
    """The launcher's end of the pipe.

    Attributes:
        worker_end: Descriptor for the worker; the launcher closes it once the worker has it.
        ready: Is true once the worker serves, or false when the pipe ends before.
    """

    def __init__(self) -> None:
        self._end, self.worker_end = os.pipe()
        self._loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[bool] = self._loop.create_future()
        self._missed: int | None = None  # before the first beat: imports take as long as they do
        self._loop.add_reader(self._end, self._read)

    def _read(self) -> None:
        said = os.read(self._end, READ_SIZE)
        self._missed = 0
        if READY in said and not self.ready.done():
            self.ready.set_result(True)
        if not said:
            self.close()

    def check(self) -> int:
        """Count one more check since the last beat.

        Only the checks of a launcher that runs count, not the time between them. So a service that
        was stopped as a whole, a suspended computer and a clock that was set make no worker look
        frozen.

        Returns:
            The number of checks since the last beat; 0 before the first beat and after the end.
        """
        if self._missed is None:
            return 0
        self._missed += 1
        return self._missed

    def close(self) -> None:
        """Stop reading; a second call does nothing."""
        if self._end < 0:
            return
        self._loop.remove_reader(self._end)
        os.close(self._end)
        self._end, self._missed = -1, None
        if not self.ready.done():
            self.ready.set_result(False)
