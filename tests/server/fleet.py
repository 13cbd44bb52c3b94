"""A launcher with its workers, and traffic that counts what fails."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import httpx
import psutil

from tests.e2e.clients import CLIENT_SECONDS
from tests.server_process import START_SECONDS, ServerProcess
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Fleet", "Traffic", "is_alive"]

#: What the launcher says once all its workers serve.
SERVING = re.compile(r"^serving on (\S+)$", re.MULTILINE)

TCP = re.compile(r"^https?://(127\.0\.0\.1|\[::1\]):(\d+)$")


class Fleet(ServerProcess):
    """A launcher in a process of its own, and what it launched."""

    def ready(self) -> Self:
        """Waits until all workers serve."""
        said = eventually(self._announcement, seconds=START_SECONDS, what="the launcher starts")
        self.address = said[1]
        if place := TCP.match(self.address):
            self.base_url, self.host, self.port = self.address, place[1], int(place[2])
        self.pid = self.workers()[0]
        self._first_sockets = self._sockets()
        self._first_tasks = Counter(self.state()["tasks"]) if self._watched else Counter[str]()
        return self

    def _announcement(self) -> re.Match[str] | None:
        assert self.process.poll() is None, f"it ended: {self.err.read_text()[-4000:]}"
        return SERVING.search(self.out.read_text())

    def workers(self) -> list[int]:
        """Processes that serve, the oldest first."""
        alive = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):
                if child.status() != psutil.STATUS_ZOMBIE and "worker" in " ".join(child.cmdline()):
                    alive.append((child.create_time(), child.pid))
        return [pid for _, pid in sorted(alive)]

    def worker_of(self, connected: socket.socket) -> int:
        """The worker at the other end of a connection."""
        port = connected.getsockname()[1]

        def found() -> int | None:
            for pid in self.workers():
                connections = psutil.Process(pid).net_connections("tcp")
                if any(c.raddr and c.raddr.port == port for c in connections):
                    return pid
            return None

        return eventually(found, what="a worker accepts the connection") or 0

    def listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((self.host.strip("[]"), self.port)) == 0

    def assert_settled(self) -> None:
        """Every worker is settled."""
        for pid in self.workers():
            self.pid = pid
            super().assert_settled()

    def assert_gone(self, workers: list[int], *, seconds: float = 10) -> None:
        """These processes have ended, or are about to."""
        eventually(lambda: not any(map(is_alive, workers)), seconds=seconds, what="the workers end")

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.logs() if line.get("event") == event]

    def expect_logged(self, event: str) -> None:
        """Takes everything logged so far for expected, if the event is there."""
        assert self.logged(event)
        self._lines_seen = len(self.logs())


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Traffic:
    """Requests one after another, on connections of their own and on one that is kept.

    Attributes:
        answered: How many were answered 200.
        failures: What became of the others.
    """

    def __init__(self, fleet: Fleet, *, pause: float = 0.004, http2: bool = False) -> None:
        self.answered = 0
        self.failures: list[str] = []
        self._fleet = fleet
        self._pause = pause
        self._over = threading.Event()
        kept = httpx.Client(
            base_url=fleet.base_url,
            timeout=CLIENT_SECONDS,
            http1=not http2,
            http2=http2,
            verify=False,
        )
        requests = (self._on_its_own, partial(self._on_a_kept_one, kept))
        self._threads = [threading.Thread(target=self._run, args=[r]) for r in requests]
        self._kept = kept

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        self.flows()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._kept.close()

    def flows(self) -> None:
        """Waits until some more requests were answered."""
        wanted = self.answered + 20
        eventually(lambda: self.answered >= wanted, what="requests are answered")

    def _run(self, answered: Callable[[], str]) -> None:
        while not self._over.is_set():
            try:
                failure = answered()
            except (OSError, httpx.TransportError) as error:
                failure = repr(error)
            if failure:
                self.failures.append(failure)
            else:
                self.answered += 1
            time.sleep(self._pause)

    def _on_its_own(self) -> str:
        with socket.create_connection((self._fleet.host, self._fleet.port)) as connected:
            connected.settimeout(CLIENT_SECONDS)
            connected.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := connected.recv(65536):
                answer += data
        return "" if answer.startswith(b"HTTP/1.1 200 ") and b"ok" in answer else repr(answer)

    def _on_a_kept_one(self, client: httpx.Client) -> str:
        response = client.get("/healthz")
        return "" if response.status_code == 200 else repr(response)
