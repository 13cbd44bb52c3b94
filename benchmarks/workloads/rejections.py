"""Uploads refused while they are under way: they leave nothing behind, it is hoped."""

from __future__ import annotations

import time
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING

from benchmarks.client import UnfitError
from benchmarks.contenders import Feature
from benchmarks.crowd import exchange
from benchmarks.payload import block
from benchmarks.workloads.workload import Figures, Metric, Turn, Workload
from quart_app.models import GIB, KIB, MIB

if TYPE_CHECKING:
    from benchmarks.server import Server

CONNECTIONS = 50
DECLARED_SIZE = 1024**2 * GIB
SENT_SIZE = 256 * KIB

#: Connections may linger for a moment after their end, but not for longer.
SETTLE_SECONDS = 3


class Rejections(Workload):
    name = "rejections"
    needs = frozenset({Feature.REJECTION})
    metrics = (
        Metric("rate", "refusals/s", more_is_better=True),
        Metric("cpu", "CPU ms/refusal"),
        Metric("descriptors", "descriptors more", compared=False),
        Metric("threads", "threads more", compared=False),
        Metric("growth", "grows MiB", compared=False),
        Metric("rss", "RSS MiB", compared=False),
    )
    once = True

    @property
    def title(self) -> str:
        return (
            f"{self.plan.rejections} uploads refused for the size they declare, their bodies under "
            f"way, {CONNECTIONS} connections at once; beyond what a first "
            f"{self.plan.rejections // 5} left"
        )

    def room(self, _: int) -> int:
        return 0

    def prepare(self, server: Server) -> Turn:
        self.refused(server, self.plan.rejections // 5)
        time.sleep(SETTLE_SECONDS)
        return partial(self.turn, server)

    def turn(self, server: Server) -> Figures:
        before = server.holding()
        _, usage = server.metered(partial(self.refused, server, self.plan.rejections))
        time.sleep(SETTLE_SECONDS)
        after = server.holding()
        return {
            "rate": self.plan.rejections / usage.seconds,
            "cpu": 1000 * usage.cpu_seconds / self.plan.rejections,
            "descriptors": after.descriptors - before.descriptors,
            "threads": after.threads - before.threads,
            "growth": (after.rss - before.rss) / MIB,
            "rss": after.rss / MIB,
        }

    def refused(self, server: Server, count: int) -> None:
        request = (
            b"POST /upload?name=large.bin HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/octet-stream\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (DECLARED_SIZE, bytes(block()[:SENT_SIZE]))
        )
        requests = repeat(request, count)
        answers = exchange(server.address, requests, CONNECTIONS, reuse=False)
        statuses = {answer.status for answer in answers}
        if statuses != {b"413"}:
            raise UnfitError(f"a body of {DECLARED_SIZE} bytes was answered with {statuses}")
