"""Clients that send slowly, as over mobile networks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks import slow_crowd
from benchmarks.client import UnfitError
from benchmarks.contenders import Feature
from benchmarks.payload import Payload
from benchmarks.sizes import written
from benchmarks.workloads.crowded import FETCHED_SIZE, Crowded

if TYPE_CHECKING:
    from benchmarks.server import Server
    from benchmarks.workloads.crowded import Crowd


class SlowClients(Crowded):
    name = "slow-clients"
    needs = frozenset({Feature.SLOW_CLIENT})

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
        return 2 * size * self.plan.slow_clients + super().room(servers)

    def crowd(self, server: Server) -> Crowd:
        plan = self.plan
        return partial(
            slow_crowd.served, server.address, plan.slow_clients, seconds=plan.slow_seconds
        )

    def confirmed(self, server: Server, served: int) -> int:
        """Whoever was told that the file is stored can rely on it; some may have been told late."""
        payload = Payload(slow_crowd.file_size(self.plan.slow_seconds))
        found = server.collect(payload.size)
        if found.count(payload.sha256) < max(served, len(found)):
            raise UnfitError(f"of {served} files {found.count(payload.sha256)} are stored right")
        return served
