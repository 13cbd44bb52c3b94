"""Many transfers at once that go slowly, and one more client who wants a file meanwhile."""

from __future__ import annotations

import multiprocessing
import time
from abc import abstractmethod
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING, TypeAlias

from benchmarks import slow_crowd
from benchmarks.client import UnfitError, download, upload
from benchmarks.payload import Payload
from benchmarks.workloads.workload import RSS, Figures, Metric, Turn, Workload
from quart_app.models import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.server import Server

    Crowd: TypeAlias = Callable[[], int]

FETCHED_SIZE = 1 * MIB
PAUSE_SECONDS = 0.02

SERVED = Metric("served", "served at once", compared=False, more_is_better=True)
HELD = Metric("held", "grows MiB a transfer", compared=False)


class Crowded(Workload):
    metrics = (
        SERVED,
        Metric("median", "bystander's median ms"),
        Metric("p99", "bystander's p99 ms", compared=False),
        HELD,
        Metric("cpu", "CPU s"),
        RSS,
    )
    once = True

    def room(self, servers: int) -> int:
        return servers * FETCHED_SIZE

    @abstractmethod
    def crowd(self, server: Server) -> Crowd:
        """What a process of its own does to the server; it gives how many were served at once."""

    def confirmed(self, server: Server, served: int) -> int:  # noqa: ARG002
        """How many were served, as far as it shows elsewhere.

        Raises:
            UnfitError: The server said otherwise.
        """
        return served

    def prepare(self, server: Server) -> Turn:
        url = upload(server.address, Payload(FETCHED_SIZE))["url"]
        download(server.address, url, FETCHED_SIZE)
        return partial(self.turn, server, url, self.crowd(server))

    def turn(self, server: Server, url: str, crowd: Crowd) -> Figures:
        spawned = multiprocessing.get_context("spawn")
        before = server.holding().rss
        with ProcessPoolExecutor(1, mp_context=spawned) as pool:
            pool.submit(slow_crowd.ready).result()
            (served, waits), usage = server.metered(partial(self.visit, server, url, pool, crowd))
        served = self.confirmed(server, served)
        if not served:
            raise UnfitError("it serves none of them")
        return {
            "served": served,
            "median": 1000 * median(waits),
            "p99": 1000 * quantiles([*waits, max(waits)], n=100)[-1],
            "held": (usage.peak_rss - before) / served / MIB,
            "cpu": usage.cpu_seconds,
            "rss": usage.peak_rss / MIB,
        }

    def visit(
        self, server: Server, url: str, pool: ProcessPoolExecutor, crowd: Crowd
    ) -> tuple[int, list[float]]:
        at_work = pool.submit(crowd)
        time.sleep(2 * slow_crowd.INTERVAL_SECONDS)  # until all have begun
        waits = self.waits(server, url, at_work)
        return at_work.result(), waits

    def waits(self, server: Server, url: str, crowd: Future[int]) -> list[float]:
        """Seconds of each fetch while the crowd is there; one without end counts as it stands."""
        end = time.monotonic() + self.plan.slow_seconds - 2 * slow_crowd.INTERVAL_SECONDS
        waits: list[float] = []
        while not waits or (time.monotonic() < end and not crowd.done()):
            start = time.monotonic()
            try:
                patience = max(1.0, end - start)
                download(server.address, url, FETCHED_SIZE, patience=patience)
            except TimeoutError:
                pass
            waits.append(time.monotonic() - start)
            time.sleep(PAUSE_SECONDS)
        return waits
