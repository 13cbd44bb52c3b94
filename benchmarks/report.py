"""One run as JSON, with every raw sample, and beside it as tables to read and plots to look at."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.bars import BARS
from benchmarks.markdown import page
from benchmarks.plots import draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.bars import Verdict
    from benchmarks.contenders import Contender
    from benchmarks.results import Results
    from benchmarks.workloads.workload import Plan, Workload


@dataclass(frozen=True)
class Report:
    """Everything there is to say of one run.

    Attributes:
        places: Where a workload kept its files.
        absent: Those who would have taken part, but are not installed.
    """

    date: str
    machine: dict[str, Any]
    plan: Plan
    places: dict[str, str]
    workloads: Sequence[Workload]
    contenders: Sequence[Contender]
    absent: Sequence[Contender]
    results: Results

    @property
    def verdicts(self) -> list[Verdict]:
        return [bar.judged(self.results) for bar in BARS]

    @property
    def name(self) -> str:
        """What its files are called, but for what tells them apart."""
        commit = (self.machine["commit"] or "unknown")[:9]
        stamp = self.date[:19].replace(":", "").replace("-", "")
        return f"{stamp}-{commit}{'-dirty' * self.machine['dirty']}"

    def write(self, directory: Path) -> Path:
        """Write all, and give the path of the tables."""
        directory.mkdir(parents=True, exist_ok=True)
        raw = directory / f"{self.name}.json"
        raw.write_text(json.dumps(self.as_json(), indent=1, ensure_ascii=False) + "\n")
        tables = raw.with_suffix(".md")
        tables.write_text(page(self, [path.name for path in draw(raw, directory)]))
        return tables

    def as_json(self) -> dict[str, Any]:
        return {
            "date": self.date,
            "machine": self.machine,
            "plan": asdict(self.plan),
            "places": self.places,
            "contenders": {contender.name: contender.label for contender in self.contenders},
            "absent": [contender.name for contender in self.absent],
            **asdict(self.results),
            "bars": [asdict(verdict) for verdict in self.verdicts],
        }
