"""A contender's processes: started, awaited, measured, and ended whatever happens."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Self, TypeVar

import psutil

from benchmarks.client import UnfitError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from benchmarks.client import Address
    from benchmarks.contenders import Contender

Result = TypeVar("Result")

ROOT = Path(__file__).parent.parent
START_SECONDS = 30
STOP_SECONDS = 2
POLL_SECONDS = 0.02
LOG_LINES = 30

ADDRESS = re.compile(r"http://127\.0\.0\.1:([1-9]\d*)")
PEAK_RSS = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """What one action took: time of the whole process tree, memory of those in it that serve."""

    seconds: float
    cpu_seconds: float
    peak_rss: int


@dataclass(frozen=True)
class Holding:
    """What the processes that serve hold at a moment."""

    descriptors: int
    threads: int
    rss: int


class Server:
    """One contender at work in a fresh directory."""

    def __init__(
        self, contender: Contender, directory: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        self.contender = contender
        self.settings = settings or {}
        self.data = directory / "data"
        self.scratch = directory / "tmp"
        self._said = ""

    def __enter__(self) -> Self:
        self.data.mkdir(parents=True)
        self.scratch.mkdir()
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        own = {"BENCHMARK_DATA": self.data, "PYTHONPATH": path, "TMPDIR": self.scratch}
        self._log = TemporaryFile()  # not in the directory, whose disk may be slow
        self.process = subprocess.Popen(
            self.contender.arguments(str(self.data)),
            cwd=self.data,
            env={**os.environ, **self.settings, **{name: str(own[name]) for name in own}},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        try:
            self.address = self._awaited()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _awaited(self) -> Address:
        """The address, once it answers there."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            if said := ADDRESS.search(self._read_log()):
                address = ("127.0.0.1", int(said[1]))
                with suppress(OSError), socket.create_connection(address):
                    return address
            time.sleep(POLL_SECONDS)
        raise UnfitError("it did not start")

    def _end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._said = self._read_log()
        self._log.close()

    def _read_log(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def last_words(self) -> str:
        said = self._said if self._log.closed else self._read_log()
        return "\n".join(said.splitlines()[-LOG_LINES:])

    def metered(self, action: Callable[[], Result]) -> tuple[Result, Usage]:
        """Do something to the server and read what it took."""
        tree = self._tree()
        for pid in tree:
            _forget_peak(pid)
        cpu_before = sum(map(_cpu_seconds, tree))
        start = time.perf_counter()
        result = action()
        seconds = time.perf_counter() - start
        if self._tree() != tree:
            raise UnfitError("one of its processes ended or was replaced")
        cpu_seconds = sum(map(_cpu_seconds, tree)) - cpu_before
        return result, Usage(seconds, cpu_seconds, sum(map(_peak_rss, self._serving())))

    def holding(self) -> Holding:
        processes = [psutil.Process(pid) for pid in self._serving()]
        return Holding(
            sum(process.num_fds() for process in processes),
            sum(process.num_threads() for process in processes),
            sum(process.memory_info().rss for process in processes),
        )

    def _tree(self) -> set[int]:
        return {process.pid for process in self._processes()}

    def _serving(self) -> set[int]:
        """Those without children: a launcher or arbiter above them only looks on."""
        processes = self._processes()
        return {each.pid for each in processes} - {each.ppid() for each in processes}

    def _processes(self) -> list[psutil.Process]:
        try:
            leader = psutil.Process(self.process.pid)
            return [leader, *leader.children(recursive=True)]
        except psutil.NoSuchProcess:
            raise UnfitError("it ended") from None

    def collect(self, size: int) -> list[str]:
        """Digests of its stored files of a size, which make room for the next ones.

        This looks past the server, so that one which claims more than it stored is found out.
        """
        digests = []
        for path in self.data.rglob("*"):
            if path.is_file() and path.stat().st_size == size:
                with path.open("rb") as file:
                    digests.append(hashlib.file_digest(file, "sha256").hexdigest())
                path.unlink()
        return digests


def _cpu_seconds(pid: int) -> float:
    """User and system time from the kernel's clock of that process, in nanoseconds.

    The ticks of /proc are 10 ms, which is more than a small transfer takes. The identifier is
    what clock_getcpuclockid(3) computes.
    """
    return time.clock_gettime((~pid << 3) | 2)


def _peak_rss(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    peak = PEAK_RSS.search(status)
    return int(peak[1]) * 1024 if peak else 0


def _forget_peak(pid: int) -> None:
    """Let the peak start anew, where permitted; else it counts from the start of the server."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")
