"""A body that comes back as the answer, after it was all there: once for each way to keep it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar

from benchmarks.client import read_back
from benchmarks.contenders import Feature
from benchmarks.payload import Payload
from benchmarks.sizes import written
from benchmarks.workloads.workload import WARM_UP_SIZE, Figures, Turn, Workload, bulk_figures

if TYPE_CHECKING:
    from benchmarks.server import Server


class ReadData(Workload):
    needs = frozenset({Feature.READ})
    via: ClassVar[str]

    @property
    def title(self) -> str:
        return f"{written(self.plan.read_size)} of text, read back by way of {self.via}"

    def room(self, servers: int) -> int:
        return servers and 4 * self.plan.read_size

    def prepare(self, server: Server) -> Turn:
        self.read(server, WARM_UP_SIZE, digested=True)
        return partial(self.turn, server, self.plan.read_size)

    def turn(self, server: Server, size: int) -> Figures:
        _, usage = server.metered(lambda: self.read(server, size, digested=False))
        return bulk_figures(size, usage)

    def read(self, server: Server, size: int, *, digested: bool) -> None:
        payload = Payload(size, content_type="text/plain; charset=utf-8", text=True)
        read_back(server.address, f"/read_data?via={self.via}", payload, digested=digested)


class ReadBytesIO(ReadData):
    name = "read-data-bytesio"
    via = "bytesio"


class ReadStringIO(ReadData):
    name = "read-data-stringio"
    via = "stringio"


class ReadTempfile(ReadData):
    name = "read-data-tempfile"
    via = "tempfile"


class ReadMmap(ReadData):
    name = "read-data-mmap"
    via = "mmap"
