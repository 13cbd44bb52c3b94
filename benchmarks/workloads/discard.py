"""A large body that nobody keeps: the server alone, without disk, digest or framework."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.client import discarded
from benchmarks.contenders import LAYER, Feature
from benchmarks.payload import Payload
from benchmarks.sizes import written
from benchmarks.workloads.workload import WARM_UP_SIZE, Figures, Turn, Workload, bulk_figures

if TYPE_CHECKING:
    from benchmarks.server import Server


class Discard(Workload):
    name = "discard"
    needs = frozenset({Feature.DISCARD})
    subject = LAYER

    @property
    def title(self) -> str:
        return f"{written(self.plan.size)} received and dropped by the barest application"

    def room(self, _: int) -> int:
        return 0

    def prepare(self, server: Server) -> Turn:
        discarded(server.address, Payload(WARM_UP_SIZE))
        payload = Payload(self.plan.size)

        def turn() -> Figures:
            _, usage = server.metered(lambda: discarded(server.address, payload))
            return bulk_figures(payload.size, usage)

        return turn
