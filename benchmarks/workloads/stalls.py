"""What transfers hold whose other side is slow: a reader, a disk, a destination."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import far_end, slow_crowd, slow_disk
from benchmarks.client import upload
from benchmarks.contenders import Feature
from benchmarks.payload import Payload
from benchmarks.sizes import written
from benchmarks.workloads.crowded import FETCHED_SIZE, Crowded
from benchmarks.workloads.relays import target
from quart_app.models import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchmarks.client import Address
    from benchmarks.server import Server
    from benchmarks.workloads.crowded import Crowd
    from benchmarks.workloads.workload import Turn

#: More than the kernel keeps for a connection, so that a server has to wait for its reader.
DOWNLOADED_SIZE = 64 * MIB
BYSTANDER = f"a bystander fetches {written(FETCHED_SIZE)} time and again"


class SlowReader(Crowded):
    name = "slow-reader"
    needs = frozenset({Feature.SLOW_READER})

    @property
    def title(self) -> str:
        return (
            f"{self.plan.stalled} clients at once read {written(slow_crowd.PIECE_SIZE)} of "
            f"{written(DOWNLOADED_SIZE)} every {slow_crowd.INTERVAL_SECONDS} s for "
            f"{self.plan.slow_seconds} s; {BYSTANDER}"
        )

    def room(self, servers: int) -> int:
        return servers * (DOWNLOADED_SIZE + FETCHED_SIZE)

    def crowd(self, server: Server) -> Crowd:
        url = upload(server.address, Payload(DOWNLOADED_SIZE))["url"]
        plan = self.plan
        return partial(
            slow_crowd.readers, server.address, plan.stalled, url, seconds=plan.slow_seconds
        )


class Stalled(Crowded):
    """Clients send as fast as they may, without end, to what takes it in slowly."""

    path: str

    def crowd(self, server: Server) -> Crowd:
        plan = self.plan
        return partial(
            slow_crowd.senders, server.address, plan.stalled, self.path, seconds=plan.slow_seconds
        )


class SlowDisk(Stalled):
    name = "slow-disk"
    needs = frozenset({Feature.SLOW_DISK})
    path = "/upload?name=stalled.bin"

    @property
    def title(self) -> str:
        return (
            f"{self.plan.stalled} uploads at once for {self.plan.slow_seconds} s to a disk that "
            f"writes {written(slow_disk.BYTES_PER_SECOND)} per second, by the kernel's limit; "
            f"{BYSTANDER}"
        )

    @contextmanager
    def surroundings(self, home: Path) -> Iterator[Mapping[str, str]]:
        with slow_disk.mounted(home):
            yield {}


class SlowDestination(Stalled):
    name = "slow-destination"
    needs = frozenset({Feature.SLOW_DESTINATION})
    path = "/proxy"
    destination: Address

    @property
    def title(self) -> str:
        return (
            f"{self.plan.stalled} bodies at once for {self.plan.slow_seconds} s on their way to a "
            f"destination that reads {written(far_end.SLOW_SIZE)} of each every "
            f"{far_end.SLOW_SECONDS} s; {BYSTANDER}"
        )

    @contextmanager
    def surroundings(self, home: Path) -> Iterator[Mapping[str, str]]:  # noqa: ARG002
        with far_end.far_end(slow=True) as self.destination:
            yield target(self.destination)

    def prepare(self, server: Server) -> Turn:
        turn = super().prepare(server)
        far_end.bodies_met(self.destination)
        return turn

    def confirmed(self, server: Server, served: int) -> int:  # noqa: ARG002
        """Only those count whose bodies began to arrive there."""
        return far_end.bodies_met(self.destination)
