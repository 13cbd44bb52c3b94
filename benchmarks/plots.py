"""A run as pictures; `python -m benchmarks.plots RESULT.json` draws them anew.

A panel for each workload, a bar for each contender, its figure beside it: no legend, no axis.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click
import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.contenders import CONTENDERS, SUBJECT
from benchmarks.results import Failure, Results, Sample, Series
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.crowded import Crowded

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from matplotlib.axes import Axes

    from benchmarks.workloads.workload import Workload

COLOURS = {contender.name: contender.colour for contender in CONTENDERS}
STRANGER = "#777777"

COLUMNS = 3
WIDTH_INCHES = 15.0
BAR_INCHES = 0.27
TITLE_INCHES = 0.75

#: From this ratio of the longest bar to the shortest on, a linear scale shows the long ones only.
WIDE = 25


@dataclass(frozen=True)
class Bar:
    contender: str
    length: float
    text: str


class Plot(ABC):
    """One picture of a whole run."""

    name: ClassVar[str]
    title: ClassVar[str]
    more_is_better: ClassVar[bool] = False

    #: What is left beside the longest bar for its figure, as a share of it.
    margin: ClassVar[float] = 0.28

    def __init__(self, results: Results) -> None:
        self.results = results

    @abstractmethod
    def metric(self, workload: type[Workload]) -> str | None:
        """Which figure of a workload it shows, if any."""

    def caption(self, workload: type[Workload]) -> str:
        metric = self.metric(workload)
        titles = {each.name: each.title for each in workload.metrics}
        return f"{workload.name}: {titles[str(metric)]}"

    def bars(self, workload: type[Workload]) -> list[Bar]:
        """Those of all who took part, the best on top."""
        metric = self.metric(workload)
        if metric is None:
            return []
        names = {each.contender for each in self.results.samples if each.workload == workload.name}
        found = [self.bar(Series(workload.name, metric, name), workload) for name in names]
        ranked = sorted((bar for bar in found if bar), key=lambda bar: (bar.length, bar.contender))
        return ranked if self.more_is_better else ranked[::-1]

    def bar(self, series: Series, workload: type[Workload]) -> Bar | None:  # noqa: ARG002
        figure = self.results.median(series)
        return None if figure is None else Bar(series.contender, figure, _written(figure))

    def draw(self, axes: Axes, bars: Sequence[Bar]) -> bool:
        """Draw bars from nothing on; whether their scale is logarithmic."""
        shortest = min((bar.length for bar in bars if bar.length > 0), default=1.0)
        longest = max(shortest, *(bar.length for bar in bars))
        is_log = longest > WIDE * shortest
        start = shortest / 2 if is_log else 0.0
        ends = [max(bar.length, start) for bar in bars]
        colours = [COLOURS.get(bar.contender, STRANGER) for bar in bars]
        axes.barh(
            range(len(bars)), [end - start for end in ends], left=start, color=colours, zorder=2
        )
        axes.set_yticks(range(len(bars)), [bar.contender for bar in bars])
        for row, (bar, end) in enumerate(zip(bars, ends, strict=True)):
            axes.annotate(
                bar.text,
                (end, row),
                (4, 0),
                textcoords="offset points",
                va="center",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        if is_log:
            axes.set_xscale("log")
            axes.set_xlim(start, longest * (longest / start) ** self.margin)
        else:
            axes.set_xlim(start, longest * (1 + self.margin))
        return is_log


class Throughput(Plot):
    name = "throughput"
    title = "Throughput, as a multiple of this service's; longer is better"
    more_is_better = True

    def metric(self, workload: type[Workload]) -> str | None:
        return "rate" if any(each.name == "rate" for each in workload.metrics) else None

    def caption(self, workload: type[Workload]) -> str:
        ours = self.results.median(Series(workload.name, "rate", workload.subject))
        unit = next(each.title for each in workload.metrics if each.name == "rate")
        return workload.name + (f" (1× is {_written(ours)} {unit})" if ours else "")

    def bar(self, series: Series, workload: type[Workload]) -> Bar | None:
        ratio = self.results.ratio(series, Series(workload.name, "rate", workload.subject))
        return None if ratio is None else Bar(series.contender, ratio, f"{_written(ratio)}×")

    def bars(self, workload: type[Workload]) -> list[Bar]:
        found = super().bars(workload)
        return found if len(found) > 1 else []

    def draw(self, axes: Axes, bars: Sequence[Bar]) -> bool:
        axes.axvline(1, color=COLOURS[SUBJECT], linewidth=1.5, linestyle=":", zorder=0)
        return super().draw(axes, bars)


class Cpu(Plot):
    name = "cpu"
    title = "CPU time of the server; shorter is better"

    def metric(self, workload: type[Workload]) -> str | None:
        return "cpu" if any(each.name == "cpu" for each in workload.metrics) else None


class Memory(Plot):
    name = "memory"
    title = (
        "Peak of resident memory, or by how much each slow transfer raises it; shorter is better"
    )

    def metric(self, workload: type[Workload]) -> str | None:
        names = [each.name for each in workload.metrics]
        return next((name for name in ("held", "download_rss", "rss") if name in names), None)


class Bystander(Plot):
    name = "bystander"
    title = "Wait of a bystander for 1 MiB beside a slow crowd, at the median; shorter is better"
    margin = 1.1

    def metric(self, workload: type[Workload]) -> str | None:
        return "median" if issubclass(workload, Crowded) else None

    def caption(self, workload: type[Workload]) -> str:
        return workload.name

    def bar(self, series: Series, workload: type[Workload]) -> Bar | None:
        others = [Series(workload.name, name, series.contender) for name in ("p99", "served")]
        wait, longest, served = map(self.results.median, [series, *others])
        if wait is None or longest is None or served is None:
            return None
        text = f"{_seconds(wait)} (p99 {_seconds(longest)}), {served:.0f} served"
        return Bar(series.contender, wait, text)


KINDS: tuple[type[Plot], ...] = (Throughput, Cpu, Memory, Bystander)


def _written(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def _seconds(milliseconds: float) -> str:
    return (
        f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{_written(milliseconds)} ms"
    )


def draw(raw: Path, directory: Path, only: Collection[str] = ()) -> list[Path]:
    """Draw every picture of a run into a directory, beside each other by the name of the run."""
    results = _read(raw)
    drawn = []
    for kind in KINDS:
        target = directory / f"{raw.stem}-{kind.name}.svg"
        if _drawn(kind(results), target, only):
            drawn.append(target)
    return drawn


def _read(raw: Path) -> Results:
    run = json.loads(raw.read_text())
    samples = [Sample(**each) for each in run["samples"]]
    return Results(samples, [Failure(**each) for each in run["failures"]])


def _drawn(plot: Plot, target: Path, only: Collection[str]) -> bool:
    shown = [
        (workload, bars)
        for workload in WORKLOADS
        if (workload.name in only or not only) and (bars := plot.bars(workload))
    ]
    rows = [shown[begin : begin + COLUMNS] for begin in range(0, len(shown), COLUMNS)]
    if not rows:
        return False
    most = [max(len(bars) for _, bars in row) for row in rows]
    heights = [TITLE_INCHES + BAR_INCHES * count for count in most]
    columns = min(COLUMNS, len(shown))
    with mpl.rc_context({"svg.hashsalt": "benchmarks", "font.size": 10}):
        size = (WIDTH_INCHES * columns / COLUMNS, sum(heights) + TITLE_INCHES)
        figure = Figure(size, layout="constrained", facecolor="white")
        figure.suptitle(plot.title, fontsize=13)
        grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
        for place in grid.flat:
            place.set_axis_off()
        for number, (workload, bars) in enumerate(shown):
            row, column = divmod(number, COLUMNS)
            _panel(grid[row][column], plot, workload, bars, most[row])
        figure.savefig(target, format="svg", metadata={"Date": None})
    return True


def _panel(
    axes: Axes, plot: Plot, workload: type[Workload], bars: Sequence[Bar], most: int
) -> None:
    axes.set_axis_on()
    scale = " (log scale)" if plot.draw(axes, bars) else ""
    axes.set_title(plot.caption(workload) + scale, loc="left", fontsize=10, fontweight="bold")
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_ylim(len(bars) - most - 0.5, len(bars) - 0.5)  # bars as thick as in all panels
    for label in axes.get_yticklabels():
        if label.get_text() == workload.subject:
            label.set_fontweight("bold")


@click.command()
@click.argument("result", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--workload", "workloads", multiple=True, help="Only these; may be repeated.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where to.  [default: beside the result]",
)
def main(result: Path, workloads: tuple[str, ...], output: Path | None) -> None:
    """Draw the pictures of a run anew, from the JSON file that it has written."""
    for path in draw(result, output or result.parent, workloads):
        click.echo(path)


if __name__ == "__main__":
    main()
