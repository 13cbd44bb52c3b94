"""Many who send slowly at once, and one more who wants a file meanwhile."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from statistics import median, quantiles
from typing import TYPE_CHECKING

from benchmarks import slow_crowd
from benchmarks.client import UnfitError, download, upload
from benchmarks.contenders import Feature
from benchmarks.payload import Payload
from benchmarks.sizes import written
from benchmarks.workloads.workload import (
    RSS,
    Figures,
    Metric,
    Turn,
    Workload,
)
from quart_app.models import MIB

if TYPE_CHECKING:
    from benchmarks.server import Server

FETCHED_SIZE = 1 * MIB
PAUSE_SECONDS = 0.02


class SlowClients(Workload):
    name = "slow-clients"
    needs = frozenset({Feature.SLOW_CLIENT})
    metrics = (
        Metric("served", "served at once", compared=False),
        Metric("median", "bystander's median ms"),
        Metric("p99", "bystander's p99 ms", compared=False),
        Metric("cpu", "CPU s"),
        RSS,
    )

    @property
    def title(self) -> str:
        return (
            f"{self.plan.slow_clients} clients at once send {written(slow_crowd.PIECE_SIZE)} every "
            f"{slow_crowd.INTERVAL_SECONDS} s for {self.plan.slow_seconds} s, and wait at most "
            f"{slow_crowd.PATIENCE} times that; a bystander fetches {written(FETCHED_SIZE)} time "
            "and again"
        )

    def room(self, servers: int) -> int:
        size = slow_crowd.file_size(self.plan.slow_seconds)
        return 2 * size * self.plan.slow_clients + servers * FETCHED_SIZE

    def prepare(self, server: Server) -> Turn:
        url = upload(server.address, Payload(FETCHED_SIZE))["url"]
        return partial(self.turn, server, url)

    def turn(self, server: Server, url: str) -> Figures:
        spawned = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawned) as pool:
            pool.submit(slow_crowd.ready).result()
            (served, waits), usage = server.metered(partial(self.visit, server, url, pool))
        self.verify(server, served)
        return {
            "served": served,
            "median": 1000 * median(waits),
            "p99": 1000 * quantiles([*waits, max(waits)], n=100)[-1],
            "cpu": usage.cpu_seconds,
            "rss": usage.peak_rss / MIB,
        }

    def verify(self, server: Server, served: int) -> None:
        """Whoever was told that the file is stored can rely on it; some may have been told late."""
        payload = Payload(slow_crowd.file_size(self.plan.slow_seconds))
        found = server.collect(payload.size)
        if found.count(payload.sha256) < max(served, len(found)):
            raise UnfitError(f"of {served} files {found.count(payload.sha256)} are stored right")

    def visit(self, server: Server, url: str, pool: ProcessPoolExecutor) -> tuple[int, list[float]]:
        plan = self.plan
        crowd = pool.submit(slow_crowd.served, server.address, plan.slow_clients, plan.slow_seconds)
        time.sleep(2 * slow_crowd.INTERVAL_SECONDS)  # until all have begun
        waits = self.waits(server, url, crowd)
        return crowd.result(), waits

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
