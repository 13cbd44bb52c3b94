"""Many small files over many connections, where the work around the bytes is what counts."""

from __future__ import annotations

from itertools import cycle, islice, repeat
from typing import TYPE_CHECKING

from benchmarks.client import UnfitError, stored_file
from benchmarks.contenders import Feature
from benchmarks.crowd import Answer, exchange
from benchmarks.payload import Payload, pieces
from benchmarks.sizes import written
from benchmarks.workloads.workload import (
    RSS,
    Figures,
    Metric,
    Plan,
    Turn,
    Workload,
    collect_exactly,
)
from quart_app.models import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.server import Server, Usage

STORED_COUNT = 100


class SmallFiles(Workload):
    metrics = (Metric("rate", "files/s", more_is_better=True), Metric("cpu", "CPU ms/file"), RSS)

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.payload = Payload(plan.small_size)
        self.content = b"".join(pieces(plan.small_size))

    @property
    def amount(self) -> str:
        return (
            f"{self.plan.small_count} files of {written(self.plan.small_size)}, "
            f"{self.plan.connections} connections at once"
        )

    def send(self, server: Server, requests: Iterable[bytes], status: bytes) -> list[Answer]:
        answers = exchange(server.address, requests, self.plan.connections)
        wrong = [answer for answer in answers if answer.status != status]
        if wrong:
            raise UnfitError(f"{len(wrong)} answers are no {status!r}, the first {wrong[0]!r}")
        return answers

    def upload(self, server: Server, count: int) -> list[str]:
        """Send so many files; where they are to be had."""
        answers = self.send(server, repeat(self.upload_request, count), b"201")
        return [stored_file(answer.body, self.payload.sha256)["url"] for answer in answers]

    @property
    def upload_request(self) -> bytes:
        return (
            b"POST /upload?name=small.bin HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/octet-stream\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(self.content), self.content)
        )

    def download(self, server: Server, urls: Iterable[str]) -> None:
        request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
        requests = (request % url.encode() for url in urls)
        if any(answer.body != self.content for answer in self.send(server, requests, b"200")):
            raise UnfitError("download gave other bytes than were stored")

    def figures(self, usage: Usage) -> Figures:
        return {
            "rate": self.plan.small_count / usage.seconds,
            "cpu": 1000 * usage.cpu_seconds / self.plan.small_count,
            "rss": usage.peak_rss / MIB,
        }


class SmallUploads(SmallFiles):
    name = "small-uploads"
    needs = frozenset({Feature.SMALL_UPLOAD})

    @property
    def title(self) -> str:
        return f"{self.amount}, stored and committed one by one"

    def prepare(self, server: Server) -> Turn:
        self.upload(server, STORED_COUNT)
        collect_exactly(server, self.payload, STORED_COUNT)

        def turn() -> Figures:
            count = self.plan.small_count
            _, usage = server.metered(lambda: self.upload(server, count))
            collect_exactly(server, self.payload, count)
            return self.figures(usage)

        return turn


class SmallDownloads(SmallFiles):
    name = "small-downloads"
    needs = frozenset({Feature.SMALL_DOWNLOAD})

    @property
    def title(self) -> str:
        return f"{self.amount}, fetched"

    def prepare(self, server: Server) -> Turn:
        urls = self.upload(server, STORED_COUNT)
        self.download(server, urls)

        def turn() -> Figures:
            wanted = islice(cycle(urls), self.plan.small_count)
            _, usage = server.metered(lambda: self.download(server, wanted))
            return self.figures(usage)

        return turn
