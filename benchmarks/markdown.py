"""A run as tables to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.results import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.contenders import Contender
    from benchmarks.report import Report
    from benchmarks.results import Results
    from benchmarks.workloads.workload import Workload

METHOD = """\
Contenders ran in turn, round after round. Figures are medians; a ratio is the median of the ratios
of ours to the contender in each round. CPU is user and system time of all processes of the server;
peak RSS is the sum of `VmHWM` of those that serve, reset before each turn where the kernel permits:
what a launcher or arbiter above them takes, ours 40 MiB or so, is left out for all. After each turn
every stored file was verified by its digest, and every download by its length."""


def page(report: Report) -> str:
    """The whole report: what ran where, a table per workload, the bars."""
    parts = [
        f"# Benchmarks, {report.date[:10]}",
        _machine(report),
        METHOD,
        "\n".join(f"- `{each.name}`: {each.label}" for each in report.contenders),
        *(_workload(workload, report) for workload in report.workloads),
        _bars(report),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(report: Report) -> str:
    machine = report.machine
    names = ("python", "quart", "hypercorn", "flask", "gunicorn", "starlette", "uvicorn", "aiohttp")
    versions = {"python": machine["python"]} | machine["libraries"]
    return (
        f"Commit {machine['commit']}{' with changes' * machine['dirty']}; "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}; "
        f"{', '.join(f'{name} {versions[name]}' for name in names)}; "
        f"rounds: {report.plan.rounds}."
    )


def _workload(workload: Workload, report: Report) -> str:
    place = report.places[workload.name]
    compared = [metric.title for metric in workload.metrics if metric.compared]
    head = [
        "contender",
        *(metric.title for metric in workload.metrics),
        *(f"{workload.subject} ÷ it, {title}" for title in compared),
    ]
    rows = (_row(workload, each, report.results) for each in report.contenders)
    rows = (row for row in rows if row)
    return f"## {workload.name}\n\n{workload.title}; files in {place}.\n\n" + _table(head, rows)


def _row(workload: Workload, contender: Contender, results: Results) -> list[str]:
    """The figures, or why there are none; nothing of one that did not take part."""
    name = contender.name
    if failure := results.failure(workload.name, name):
        return [name, f"failed: {' '.join(failure.reason.split()).replace('|', '/')}"]
    series = [Series(workload.name, metric.name, name) for metric in workload.metrics]
    figures = [results.median(each) for each in series]
    ratios = [
        results.ratio(Series(workload.name, metric.name, workload.subject), each)
        for metric, each in zip(workload.metrics, series, strict=True)
        if metric.compared
    ]
    return [] if None in figures else [name, *map(_number, [*figures, *ratios])]


def _bars(report: Report) -> str:
    rows = (
        [verdict.bar, verdict.limit, _number(verdict.figure), verdict.outcome]
        for verdict in report.verdicts
    )
    return "## Bars\n\n" + _table(["bar", "limit", "figure", "outcome"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} {'| ' * (len(head) - len(cells))}|"

    return "\n".join([line(head), "|---" + "|---:" * (len(head) - 1) + "|", *map(line, rows)])


def _number(figure: float | None) -> str:
    if figure is None:
        return "–"
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
