"""A run as tables to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.results import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from benchmarks.contenders import Contender
    from benchmarks.report import Report
    from benchmarks.results import Results
    from benchmarks.workloads.workload import Metric, Workload

METHOD = """\
Contenders ran in turn, round after round. Figures are medians; a ratio is the median of the ratios
of ours to the contender in each round. CPU is user and system time of all processes of the server;
peak RSS is the sum of `VmHWM` of those that serve, reset before each turn where the kernel permits:
what a launcher or arbiter above them takes, ours 40 MiB or so, is left out for all. After each turn
every stored file was verified by its digest, and every download and relayed body by its length."""

SMALLER = "These are for the amounts of a full run; this one did less of some.\n\n"

LOSSES = "The factor by which another does better than this service, by the median of the ratios:"


NAMED = (
    *("python", "quart", "hypercorn", "httpx", "flask", "gunicorn", "starlette"),
    *("uvicorn", "aiohttp", "nginx"),
)

#: A difference that another run might turn round is no loss.
NOTABLE = 0.05


def page(report: Report, plots: Sequence[str] = ()) -> str:
    """The whole report: what ran where, a table per workload, losses, bars, and files of plots."""
    parts = [
        f"# Benchmarks, {report.date[:10]}",
        _machine(report),
        METHOD,
        "\n".join(_participants(report)),
        *(_workload(workload, report) for workload in report.workloads),
        _losses(report),
        _bars(report),
        *(f"![{name}]({name})" for name in plots),
    ]
    return "\n\n".join(parts) + "\n"


def _machine(report: Report) -> str:
    machine = report.machine
    versions = {"python": machine["python"]} | machine["libraries"]
    named = ", ".join(f"{name} {versions[name]}" for name in NAMED if versions[name])
    return (
        f"Commit {machine['commit']}{' with changes' * machine['dirty']}; "
        f"{machine['cpu']}, {machine['cores']} cores, {machine['kernel']}; "
        f"{named}; load average at the start: {machine['load']:.2f}; rounds: {report.plan.rounds}."
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
    reason = report.results.left_out.get(workload.name)
    table = f"Not measured: {reason}." if reason else _table(head, rows)
    return f"## {workload.name}\n\n{workload.title}; files in {place}.\n\n{table}"


def _participants(report: Report) -> Iterator[str]:
    for each in report.contenders:
        yield f"- `{each.name}`: {each.label}"
    for each in report.absent:
        yield f"- `{each.name}` is not installed here, and took no part"


def _losses(report: Report) -> str:
    """Where somebody else does better than we do, by any figure that is compared."""
    found = [
        f"- {workload.name}, {metric.title}: {', '.join(winners)}"
        for workload in report.workloads
        for metric in workload.metrics
        if metric.compared and (winners := list(_winners(workload, metric, report)))
    ]
    return "## Where it loses\n\n" + ("\n".join([LOSSES, "", *found]) if found else "Nowhere.")


def _winners(workload: Workload, metric: Metric, report: Report) -> Iterator[str]:
    ours = Series(workload.name, metric.name, workload.subject)
    for each in report.contenders:
        if each.name.startswith(workload.subject):
            continue
        ratio = report.results.ratio(ours, Series(workload.name, metric.name, each.name))
        if not ratio:
            continue
        ahead = 1 / ratio if metric.more_is_better else ratio
        if ahead > 1 + NOTABLE:
            yield f"`{each.name}` by {_number(ahead)}"


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
    head = ["bar", "limit", "figure", "outcome"]
    return f"## Bars\n\n{SMALLER * report.plan.is_smaller}{_table(head, rows)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} {'| ' * (len(head) - len(cells))}|"

    return "\n".join([line(head), "|---" + "|---:" * (len(head) - 1) + "|", *map(line, rows)])


def _number(figure: float | None) -> str:
    if figure is None:
        return "–"
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"
