"""A large stored file down to a client that keeps nothing of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING

from benchmarks.client import download, download_ranges, upload
from benchmarks.contenders import Feature
from benchmarks.payload import Payload
from benchmarks.sizes import written
from benchmarks.workloads.workload import Figures, Turn, Workload, bulk_figures
from quart_app.models import MIB

if TYPE_CHECKING:
    from benchmarks.server import Server


RANGE_SIZE = 1 * MIB
RANGE_CONNECTIONS = 8


class Download(Workload):
    name = "download"
    needs = frozenset({Feature.DOWNLOAD})

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


class RangedDownload(Workload):
    """Such as a client that fetches a large file in parts, several at a time."""

    name = "ranged-download"
    needs = frozenset({Feature.RANGES})

    @property
    def title(self) -> str:
        return (
            f"a stored file of {written(self.plan.size)} in ranges of {written(RANGE_SIZE)} in any "
            f"order, {RANGE_CONNECTIONS} connections at once"
        )

    def room(self, servers: int) -> int:
        return servers * self.plan.size

    def prepare(self, server: Server) -> Turn:
        url = upload(server.address, Payload(self.plan.size))["url"]
        begins = list(range(0, self.plan.size, RANGE_SIZE))
        Random(0).shuffle(begins)
        ranges = [(begin, min(begin + RANGE_SIZE, self.plan.size)) for begin in begins]
        self.fetch(server, url, ranges[: 2 * RANGE_CONNECTIONS])

        def turn() -> Figures:
            _, usage = server.metered(lambda: self.fetch(server, url, ranges))
            return bulk_figures(self.plan.size, usage)

        return turn

    def fetch(self, server: Server, url: str, ranges: list[tuple[int, int]]) -> None:
        """Fetch all, each of so many connections the next one that nobody else has."""
        shared = iter(ranges)
        with ThreadPoolExecutor(RANGE_CONNECTIONS) as pool:
            clients = [
                pool.submit(download_ranges, server.address, url, shared)
                for _ in range(RANGE_CONNECTIONS)
            ]
        for client in clients:
            client.result()
