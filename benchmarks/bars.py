"""What the service has to reach, as data, and whether a run shows that it does."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from benchmarks.contenders import LAYER, SUBJECT
from benchmarks.results import Series

if TYPE_CHECKING:
    from benchmarks.results import Results

FLASK = ("flask-sync", "flask-sync-2", "flask-gthread")
SOCKET = ("blocking-socket", "blocking-socket-2")
READ_AHEAD = f"{SUBJECT}-read-ahead"
GROWTH_MIB = 4
BYSTANDER_MS = 100

#: What "no slower" allows on a machine whose time is shared.
NO_SLOWER = 0.95

#: Zero-copy downloads are worth their trouble from here on.
ZERO_COPY_GAIN = 1.3


@dataclass(frozen=True)
class Verdict:
    bar: str
    limit: str
    figure: float | None
    outcome: str


@dataclass(frozen=True)
class Bar:
    """A figure of the subject, alone or against others, and the least or most it may be.

    Against several, the one it compares worst with counts, such as the best setting of Flask.
    """

    what: str
    ours: Series
    theirs: tuple[Series, ...] = ()
    least: float | None = None
    most: float | None = None

    def figure(self, results: Results) -> float | None:
        if not self.theirs:
            return results.median(self.ours)
        ratios = [results.ratio(self.ours, series) for series in self.theirs]
        known = [ratio for ratio in ratios if ratio is not None]
        worst = max if self.least is None else min
        return worst(known, default=None)

    @property
    def limit(self) -> str:
        return f"≤ {self.most:g}" if self.least is None else f"≥ {self.least:g}"

    def judged(self, results: Results) -> Verdict:
        figure = self.figure(results)
        if results.failure(self.ours.workload, self.ours.contender):
            outcome = "missed: failed"
        elif figure is None:
            outcome = "not measured"
        elif (
            (-inf if self.least is None else self.least)
            <= figure
            <= (inf if self.most is None else self.most)
        ):
            outcome = "met"
        else:
            outcome = "missed"
        return Verdict(self.what, self.limit, figure, outcome)


def against(workload: str, metric: str, *contenders: str) -> tuple[Series, tuple[Series, ...]]:
    return Series(workload, metric), tuple(Series(workload, metric, name) for name in contenders)


RAW = against("raw-upload", "rate", *FLASK)
SOCKETS = against("raw-upload", "rate", *SOCKET)
DOWN = against("download", "rate", *FLASK)
PAIRS = {
    name: (Series(name, "rate", f"{SUBJECT}-2"), (Series(name, "rate", "flask-sync-2"),))
    for name in ("small-uploads", "small-downloads")
}

BARS = (
    Bar("raw upload ÷ best sync Flask, rate", *RAW, least=1.8),
    Bar("raw upload ÷ best sync Flask, rate, next stage", *RAW, least=2.5),
    Bar("raw upload ÷ one blocking socket, rate", *SOCKETS, least=0.6),
    Bar("raw upload ÷ one blocking socket, rate, next stage", *SOCKETS, least=0.9),
    Bar("raw upload ÷ Starlette, CPU", *against("raw-upload", "cpu", "starlette"), most=1.0),
    Bar("form upload ÷ best sync Flask, rate", *against("form-upload", "rate", *FLASK), least=3),
    Bar(
        "form upload ÷ own raw upload, rate",
        Series("form-upload", "rate"),
        (Series("raw-upload", "rate"),),
        least=0.85,
    ),
    Bar("download ÷ best sync Flask, rate", *DOWN, least=0.8),
    Bar("download ÷ best sync Flask, rate, next stage", *DOWN, least=1.0),
    Bar("download ÷ Starlette, rate", *against("download", "rate", "starlette"), least=2),
    Bar("download ÷ stock Quart, rate", *against("download", "rate", "stock-quart"), least=30),
    Bar(
        "download ÷ the same read ahead, rate",
        *against("download", "rate", READ_AHEAD),
        least=ZERO_COPY_GAIN,
    ),
    Bar(
        "discard, our layer ÷ uvicorn, CPU",
        Series("discard", "cpu", LAYER),
        (Series("discard", "cpu", "uvicorn"),),
        most=1.0,
    ),
    *(
        Bar(f"{name} ÷ best sync Flask, rate", *against(name, "rate", *FLASK), least=2)
        for name in ("fetch", "proxy", "form-proxy")
    ),
    *(
        Bar(f"{name}: grows MiB a transfer", Series(name, "held"), most=GROWTH_MIB)
        for name in ("slow-reader", "slow-disk", "slow-destination")
    ),
    *(
        Bar(f"{name}: bystander's median ms", Series(name, "median"), most=BYSTANDER_MS)
        for name in ("slow-reader", "slow-disk", "slow-destination")
    ),
    Bar("slow clients: served at once", Series("slow-clients", "served"), least=1000),
    Bar("slow clients: bystander's median ms", Series("slow-clients", "median"), most=BYSTANDER_MS),
    Bar("long wire: HTTP/2 ÷ HTTP/1.1, rate", Series("long-wire", "share"), least=NO_SLOWER),
    Bar("rejections: descriptors more", Series("rejections", "descriptors"), most=0),
    Bar("rejections: threads more", Series("rejections", "threads"), most=0),
    Bar("rejections: grows MiB", Series("rejections", "growth"), most=GROWTH_MIB),
    Bar("memory: upload grows MiB", Series("memory", "upload_growth"), most=GROWTH_MIB),
    Bar("memory: download grows MiB", Series("memory", "download_growth"), most=GROWTH_MIB),
    Bar("small uploads ÷ best Flask, rate", *against("small-uploads", "rate", *FLASK), least=1),
    Bar("small downloads ÷ best Flask, rate", *against("small-downloads", "rate", *FLASK), least=1),
    Bar("small uploads ÷ Flask, rate, two workers each", *PAIRS["small-uploads"], least=1),
    Bar("small downloads ÷ Flask, rate, two workers each", *PAIRS["small-downloads"], least=1),
)
