"""A large file up to the server, verified on its disk after each turn."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.client import upload
from benchmarks.contenders import Feature
from benchmarks.payload import Payload, form
from benchmarks.sizes import written
from benchmarks.workloads.workload import (
    WARM_UP_SIZE,
    Figures,
    Turn,
    Workload,
    bulk_figures,
    collect_exactly,
    warm_up,
)

if TYPE_CHECKING:
    from benchmarks.server import Server


class Upload(Workload):
    @abstractmethod
    def payload(self, size: int) -> Payload:
        """A file of that size as this kind of upload carries it."""

    def prepare(self, server: Server) -> Turn:
        warm_up(server)
        self.turn(server, self.payload(WARM_UP_SIZE))
        return partial(self.turn, server, self.payload(self.plan.size))

    def turn(self, server: Server, payload: Payload) -> Figures:
        _, usage = server.metered(lambda: upload(server.address, payload))
        collect_exactly(server, payload)
        return bulk_figures(payload.size, usage)


class RawUpload(Upload):
    name = "raw-upload"
    needs = frozenset({Feature.RAW})

    @property
    def title(self) -> str:
        return f"{written(self.plan.size)} as the body of one request, stored"

    def payload(self, size: int) -> Payload:
        return Payload(size)


class FormUpload(Upload):
    name = "form-upload"
    needs = frozenset({Feature.FORM})

    @property
    def title(self) -> str:
        return f"{written(self.plan.size)} as the one file of a form, stored"

    def payload(self, size: int) -> Payload:
        return form(size)
