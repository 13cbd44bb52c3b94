"""A real server in a process of its own, with a back door that looks past it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import psutil

from tests.waiting import comes_to_nothing, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["ROOT", "SERVE", "WATCHED", "ServerProcess"]

ROOT = Path(__file__).parent.parent

#: The console script as users have it.
SERVE = (sys.executable, "-m", "quart_app", "serve")
#: The same command with eyes on its event loop; see `tests.e2e.instrumented`.
WATCHED = (sys.executable, "-m", "tests.e2e.instrumented", "serve")

START_SECONDS = 60
STOP_SECONDS = 20

#: Threads of the busiest server: 64 for files, 4 to compute, 5 for the catalog, 8 for name servers,
#: and its own few.
MOST_THREADS = 84

ADDRESS = r"\bon (http://(127\.0\.0\.1|\[::1\]):([1-9]\d*))\s"

#: Settings, and what would have every server compile its modules anew.
NOT_INHERITED = ("QUART_APP_", "PYTHONDONTWRITEBYTECODE")

#: Lines of Hypercorn's own command.
HYPERCORN_LOG = re.compile(r"\[[^]]+\] \[\d+\] \[(\w+)\] ")

#: Settings of every server unless a test says otherwise; clients write any `Host`.
DEFAULTS = {"allowed_hosts": '["*"]', "port": 0, "discard_timeout": 2, "log_format": "json"}


class ServerProcess:
    """One server: started, awaited, looked into, and ended whatever happens.

    Args:
        directory: Holds its output, its temporary files and, unless told otherwise, its data.
        settings: For `quart-app serve`, by name; None for the service's own default.
        command: What to run, up to the settings.
        wrapper: A command that runs the one that follows it, such as one in a mount namespace.
        variables: For its environment.
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, object] | None = None,
        *,
        command: Sequence[str] = WATCHED,
        wrapper: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.scratch = directory / "tmp"
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.out, self.err = directory / "out", directory / "err"
        self._state_file = directory / "state"
        self._lines_seen = 0
        given = DEFAULTS | {"data": directory / "data"} | dict(settings or {})
        given = {name: value for name, value in given.items() if value is not None}
        self.data = Path(str(given["data"]))
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        takes_flags = command in (SERVE, WATCHED)
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [*wrapper, *command, *(flags if takes_flags else [])],
                cwd=ROOT,
                env=self._environment(given, variables or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self.pid = self.process.pid

    def _environment(
        self, given: Mapping[str, object], variables: Mapping[str, str]
    ) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(NOT_INHERITED)}
        own = {f"QUART_APP_{name.upper()}": str(value) for name, value in given.items()}
        places = {"TMPDIR": str(self.scratch), "TEST_STATE_FILE": str(self._state_file)}
        return inherited | own | places | {"PYTHONPATH": str(ROOT)} | dict(variables)

    def ready(self) -> Self:
        """Waits until it says that it accepts connections."""
        said = eventually(self._announcement, seconds=START_SECONDS, what="the server starts")
        self.base_url, self.host, self.port = said[1], said[2], int(said[3])
        self.pid = self._worker() or self.pid
        self._first_sockets = self._sockets()
        self._first_tasks = Counter(self.state()["tasks"]) if self._watched else Counter[str]()
        return self

    def _worker(self) -> int | None:
        """The process that serves, where a launcher started it."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return next((child.pid for child in below if "worker" in " ".join(child.cmdline())), None)

    def _announcement(self) -> re.Match[str] | None:
        assert self.process.poll() is None, f"it ended: {self.err.read_text()[-4000:]}"
        return re.search(ADDRESS, self.out.read_text() + self.err.read_text())

    @property
    def _watched(self) -> bool:
        command = Path(f"/proc/{self.pid}/cmdline").read_bytes()
        return any(name in command for name in (b"instrumented", b"plain_app", b"raw_server"))

    def state(self) -> dict[str, Any]:
        """What the event loop says of itself: tasks, and times it was blocked."""
        self._state_file.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        eventually(self._state_file.exists, what="the event loop answers")
        state: dict[str, Any] = json.loads(self._state_file.read_text())
        return state

    def handling(self) -> int:
        """How many requests its handlers are at."""
        return sum("handle_request" in task for task in self.state()["tasks"])

    # What the kernel and the disk say.

    def see(self, path: Path) -> Path:
        """A path as the server sees it, which may be in a mount namespace of its own."""
        return Path(f"/proc/{self.pid}/root{path}") if self.running else path

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def memory(self, field: str = "VmHWM") -> int:
        """Bytes of memory: `VmHWM` at the peak, `VmRSS` now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def descriptors(self) -> list[str]:
        """What the open descriptors point to."""
        links = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                links.append(str(descriptor.readlink()))
        return links

    def blob_descriptors(self) -> list[str]:
        """The stored bytes, finished or not, that are open."""
        return [link for link in self.descriptors() if re.search("/files/../", link)]

    def _sockets(self) -> int:
        return sum(link.startswith("socket:") for link in self.descriptors())

    def blobs(self) -> dict[str, Path]:
        """Stored bytes, finished or not, by name."""
        return {path.name: path for path in self._tree() if path.is_file()}

    def parts(self) -> list[str]:
        """Uploads that are not finished."""
        return [name for name in self.blobs() if name.endswith(".part")]

    def _tree(self) -> Iterator[Path]:
        return self.see(self.data / "files").glob("??/*")

    def rows(self) -> dict[str, dict[str, Any]]:
        """What the catalog's database holds, by key."""
        with TemporaryDirectory() as directory:  # SQLite does not find its way into a namespace
            for name in ("catalog.db", "catalog.db-wal"):
                with suppress(FileNotFoundError):
                    shutil.copy(self.see(self.data / name), directory)
            with closing(sqlite3.connect(f"{directory}/catalog.db")) as connection:
                connection.row_factory = sqlite3.Row
                return {row["id"]: dict(row) for row in connection.execute("SELECT * FROM files")}

    def logs(self) -> list[dict[str, Any]]:
        """Lines of its log; what is no JSON comes as `{"raw": line}`."""
        return [_log_line(line) for line in self.err.read_text().splitlines() if line.strip()]

    # What every test expects at its end.

    def leftovers(self) -> list[str]:
        """Whatever should be gone once all clients are."""
        links = self.descriptors()
        found = [link for link in links if self._is_transient(link)]
        found += [f"{self._sockets()} sockets"] * (self._sockets() > self._first_sockets)
        found += [f"{self.threads()} threads"] * (self.threads() > MOST_THREADS)
        found += [f"temporary file {path}" for path in self.scratch.iterdir()]
        if self.see(self.data / "catalog.db").exists():
            found += [f"blob or row {key}" for key in self.blobs().keys() ^ self.rows().keys()]
        return found

    def _is_transient(self, link: str) -> bool:
        temporary = "(deleted)" in link or link.startswith(f"{self.scratch}/")
        return temporary or re.search("/files/../", link) is not None

    def assert_settled(self) -> None:
        """No descriptor, task, thread or file stays behind, nothing blocked, nothing odd logged."""
        comes_to_nothing(self.leftovers)
        if self._watched:
            comes_to_nothing(self._restless)
        self.assert_quiet_logs()

    def _restless(self) -> Counter[str]:
        state = self.state()
        assert state["blocked"] == []
        return Counter(state["tasks"]) - self._first_tasks

    def assert_quiet_logs(self) -> None:
        """Nothing went wrong unexpectedly since this was asked for the last time."""
        new, self._lines_seen = self.logs()[self._lines_seen :], len(self.logs())
        odd = [line for line in new if _is_odd(line)]
        assert odd == [], "\n".join(str(line.get("exception", line)) for line in odd)

    # Its end.

    def stop(self, number: int = signal.SIGTERM, seconds: float = STOP_SECONDS) -> float:
        """Asks it to end, and gives the seconds it took."""
        started = time.monotonic()
        self.process.send_signal(number)
        self.assert_ends_well(seconds)
        return time.monotonic() - started

    def assert_ends_well(self, seconds: float = STOP_SECONDS) -> None:
        """It ends by itself, as somebody has asked for."""
        assert self.process.wait(seconds) == 0, self.err.read_text()[-4000:]
        self.assert_quiet_logs()

    def kill(self) -> None:
        """`kill -9`, for all its processes, if it is still there."""
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self) -> Self:
        try:
            return self.ready()
        except BaseException:
            self.kill()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.stop()
        finally:
            self.kill()


def _log_line(line: str) -> dict[str, Any]:
    if own := HYPERCORN_LOG.match(line):
        return {"event": line, "level": own[1].lower()}
    try:
        found: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return {"raw": line}
    return found


def _is_odd(line: Mapping[str, Any]) -> bool:
    return "raw" in line or "exception" in line or line["level"] not in {"debug", "info", "warning"}
