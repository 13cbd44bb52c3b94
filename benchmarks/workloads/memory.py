"""How much more memory a very large file takes than a moderate one: none, it is hoped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.client import download, upload
from benchmarks.contenders import Feature
from benchmarks.payload import Payload
from benchmarks.sizes import written
from benchmarks.workloads.workload import (
    Figures,
    Metric,
    Turn,
    Workload,
    collect_exactly,
    warm_up,
)
from quart_app.models import MIB

if TYPE_CHECKING:
    from benchmarks.server import Server


class Memory(Workload):
    name = "memory"
    needs = frozenset({Feature.MEMORY})
    metrics = (
        Metric("upload_growth", "upload grows MiB", compared=False),
        Metric("download_growth", "download grows MiB", compared=False),
        Metric("upload_rss", "upload peak MiB", compared=False),
        Metric("download_rss", "download peak MiB", compared=False),
    )
    once = True
    on_disk = True

    @property
    def sizes(self) -> tuple[int, int]:
        return self.plan.memory_reference_size, self.plan.memory_size

    @property
    def title(self) -> str:
        small, large = map(written, self.sizes)
        return f"peak RSS while {large} go up and down, beyond that of {small}"

    def room(self, _: int) -> int:
        return 2 * self.plan.memory_size

    def prepare(self, server: Server) -> Turn:
        warm_up(server)
        return lambda: self.turn(server)

    def turn(self, server: Server) -> Figures:
        peaks = [self.peaks(server, size) for size in self.sizes]
        (small_up, small_down), (large_up, large_down) = peaks
        return {
            "upload_growth": (large_up - small_up) / MIB,
            "download_growth": (large_down - small_down) / MIB,
            "upload_rss": large_up / MIB,
            "download_rss": large_down / MIB,
        }

    def peaks(self, server: Server, size: int) -> tuple[int, int]:
        """The peaks of one round trip, whose file is gone afterwards."""
        payload = Payload(size)
        file, up = server.metered(lambda: upload(server.address, payload))
        _, down = server.metered(lambda: download(server.address, file["url"], size))
        collect_exactly(server, payload)
        return up.peak_rss, down.peak_rss
