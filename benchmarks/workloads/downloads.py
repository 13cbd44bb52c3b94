"""A large stored file down to a client that keeps nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.client import download, upload
from benchmarks.contenders import Feature
from benchmarks.payload import Payload
from benchmarks.sizes import written
from benchmarks.workloads.workload import Figures, Turn, Workload, bulk_figures

if TYPE_CHECKING:
    from benchmarks.server import Server


class Download(Workload):
    name = "download"
    needs = frozenset({Feature.RAW, Feature.DOWNLOAD})

    @property
    def title(self) -> str:
        return f"a stored file of {written(self.plan.size)}, whole"

    def room(self, servers: int) -> int:
        return servers * self.plan.size

    def prepare(self, server: Server) -> Turn:
        payload = Payload(self.plan.size)
        url = upload(server.address, payload)["url"]
        download(server.address, url, payload.size, payload.sha256)

        def turn() -> Figures:
            _, usage = server.metered(lambda: download(server.address, url, payload.size))
            return bulk_figures(payload.size, usage)

        return turn
