"""What a workload is: it prepares a server, and gives what one measured turn does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from benchmarks.client import UnfitError, download, upload
from benchmarks.contenders import SUBJECT
from benchmarks.payload import Payload
from quart_app.models import GIB, KIB, MIB

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.contenders import Contender, Feature
    from benchmarks.server import Server, Usage

Figures: TypeAlias = Mapping[str, float]
Turn: TypeAlias = Callable[[], Figures]

WARM_UP_SIZE = 8 * MIB


class UnavailableError(Exception):
    """A workload cannot be run on this machine."""


@dataclass(frozen=True)
class Plan:
    """How much of everything a run does; sizes in bytes."""

    rounds: int = 5
    size: int = 512 * MIB
    small_size: int = 10 * KIB
    small_count: int = 1000
    connections: int = 16
    memory_size: int = 10 * GIB
    memory_reference_size: int = 100 * MIB
    read_size: int = 128 * MIB
    slow_clients: int = 1000
    stalled: int = 64
    slow_seconds: int = 10
    wire_size: int = 32 * MIB
    rejections: int = 10_000

    @property
    def is_smaller(self) -> bool:
        """Whether it does less than a full run in a round."""
        full = Plan(rounds=self.rounds)
        return any(getattr(self, each.name) < getattr(full, each.name) for each in fields(self))


@dataclass(frozen=True)
class Metric:
    """A figure of a turn, as a column of the table; a ratio to the subject's where it is fair."""

    name: str
    title: str
    compared: bool = True
    more_is_better: bool = False


RATE = Metric("rate", "MiB/s", more_is_better=True)
CPU = Metric("cpu", "CPU s/GiB")
RSS = Metric("rss", "peak RSS MiB", compared=False)
BULK_METRICS = (RATE, CPU, RSS)


class Workload(ABC):
    """Something that clients do, the same to each contender.

    Attributes:
        name: What the command line and the tables call it.
        needs: What a contender has to offer to take part.
        subject: The contender of ours, which is compared with the others.
        metrics: The figures that a turn gives.
        once: One round is enough, for it is no throughput that is measured.
        on_disk: Its files are too large to be kept in memory.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Feature]]
    subject: ClassVar[str] = SUBJECT
    metrics: ClassVar[tuple[Metric, ...]] = BULK_METRICS
    once: ClassVar[bool] = False
    on_disk: ClassVar[bool] = False

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def field(self, contenders: Sequence[Contender]) -> list[Contender]:
        """Those of them who take part."""
        return [each for each in contenders if self.needs <= each.offers]

    def room(self, _: int) -> int:
        """Bytes that the files of so many servers take at most; a form may be spooled first."""
        return 3 * self.plan.size

    @property
    def rounds(self) -> int:
        return 1 if self.once else self.plan.rounds

    @contextmanager
    def surroundings(self, home: Path) -> Iterator[Mapping[str, str]]:  # noqa: ARG002
        """What has to be there beside the servers, whose directories are in `home`.

        Gives variables of their environment.

        Raises:
            UnavailableError: This machine has not what it takes.
        """
        yield {}

    @property
    @abstractmethod
    def title(self) -> str:
        """What is done, with its sizes."""

    @abstractmethod
    def prepare(self, server: Server) -> Turn:
        """Warm the server up and verify that it does the work; none of this is measured.

        Raises:
            UnfitError: It does not, as may happen in any turn too.
        """


def bulk_figures(size: int, usage: Usage) -> Figures:
    """Throughput, cost and peak of one transfer."""
    return {
        RATE.name: size / MIB / usage.seconds,
        CPU.name: usage.cpu_seconds / (size / GIB),
        RSS.name: usage.peak_rss / MIB,
    }


def collect_exactly(server: Server, payload: Payload, count: int = 1) -> None:
    """Verify by their digests that just these files are stored, and take them away."""
    found = server.collect(payload.size)
    if found != [payload.sha256] * count:
        right = found.count(payload.sha256)
        raise UnfitError(f"of {count} files {right} are stored right, {len(found)} of that size")


def warm_up(server: Server) -> None:
    """A round trip with every byte verified."""
    payload = Payload(WARM_UP_SIZE)
    file = upload(server.address, payload)
    download(server.address, file["url"], payload.size, payload.sha256)
    collect_exactly(server, payload)
