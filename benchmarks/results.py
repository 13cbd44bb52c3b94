"""Every turn as it was measured, and what follows from all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.contenders import SUBJECT

if TYPE_CHECKING:
    from benchmarks.workloads.workload import Figures


@dataclass(frozen=True)
class Sample:
    workload: str
    contender: str
    round: int
    figures: Figures


@dataclass(frozen=True)
class Failure:
    workload: str
    contender: str
    reason: str


@dataclass(frozen=True)
class Series:
    """One figure of one contender, round by round."""

    workload: str
    metric: str
    contender: str = SUBJECT


@dataclass
class Results:
    """All samples, whose part ended in a failure, and which workloads this machine cannot run."""

    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def rounds(self, series: Series) -> dict[int, float]:
        """The figure by round; empty for one that failed, whatever it had measured until then."""
        if self.failure(series.workload, series.contender):
            return {}
        return {
            sample.round: sample.figures[series.metric]
            for sample in self.samples
            if (sample.workload, sample.contender) == (series.workload, series.contender)
        }

    def failure(self, workload: str, contender: str) -> Failure | None:
        mine = (f for f in self.failures if (f.workload, f.contender) == (workload, contender))
        return next(mine, None)

    def median(self, series: Series) -> float | None:
        figures = self.rounds(series).values()
        return median(figures) if figures else None

    def ratio(self, series: Series, to: Series) -> float | None:
        """The median of the ratios in each round.

        What shakes the machine for a while shakes both sides of a ratio, but not two medians.
        """
        ours, theirs = self.rounds(series), self.rounds(to)
        ratios = [ours[turn] / theirs[turn] for turn in ours.keys() & theirs.keys()]
        return median(ratios) if ratios else None
