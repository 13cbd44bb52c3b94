"""The command line: what to run, how much of it, and where the results go."""

from __future__ import annotations

import resource
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

import click

from benchmarks import machine
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.report import Report
from benchmarks.results import Results
from benchmarks.runner import Runner
from benchmarks.sizes import Size, written
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.workload import Plan, Workload
from quart_app.models import MIB

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results"
FULL = Plan()
QUICK = {
    "contenders": ("quart-app", "flask-sync", "starlette", "blocking-socket", "layer", "uvicorn"),
    "rounds": 1,
    "size": 48 * MIB,
    "small_count": 200,
    "memory_size": 128 * MIB,
    "memory_reference_size": 32 * MIB,
    "read_size": 16 * MIB,
    "slow_clients": 200,
    "stalled": 16,
    "slow_seconds": 2,
    "wire_size": 2 * MIB,
    "rejections": 200,
}
COUNT = click.IntRange(1)
DIRECTORY = click.Path(path_type=Path, file_okay=False)


def choice(flag: str, names: list[str], text: str) -> Callable[..., Any]:
    kind = click.Choice(names)
    text += "; may be repeated.  [default: all]"
    return click.option(flag, f"{flag[2:]}s", type=kind, multiple=True, help=text)


def amount(name: str, kind: click.ParamType[int], text: str) -> Callable[..., Any]:
    """An option for a field of the plan, whose default is there."""
    default = getattr(FULL, name)
    shown = written(default) if isinstance(kind, Size) else str(default)
    flag = f"--{name.replace('_', '-')}"
    return click.option(flag, type=kind, default=default, show_default=shown, help=text)


def quickly(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Set smaller defaults, which leave what was said on the command line as it is."""
    context.default_map = QUICK if wanted else {}


@click.command(context_settings={"max_content_width": 100, "terminal_width": 100})
@choice("--workload", [workload.name for workload in WORKLOADS], "What to measure")
@choice("--contender", [contender.name for contender in CONTENDERS], "Who takes part")
@amount("rounds", COUNT, "Turns of each contender.")
@amount("size", Size(), "A bulk upload or download.")
@amount("small_size", Size(), "A small file.")
@amount("small_count", COUNT, "Small files in a turn.")
@amount("connections", COUNT, "Connections at once for small files.")
@amount("memory_size", Size(), "The very large file of the workload memory.")
@amount("memory_reference_size", Size(), "The moderate file that it is compared with.")
@amount("read_size", Size(), "A text that is read back.")
@amount("slow_clients", COUNT, "Clients that send slowly at once.")
@amount("stalled", COUNT, "Transfers at once to a slow disk or destination, or to slow readers.")
@amount("slow_seconds", COUNT, "How long each of these lasts.")
@amount("wire_size", Size(), "An upload over the long wire.")
@amount("rejections", COUNT, "Uploads that are refused early.")
@click.option(
    "--quick",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=quickly,
    help="Smaller amounts and fewer contenders where none are given: in less than two minutes.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where servers keep files.  [default: memory where there is room, but a disk for memory]",
)
@click.option("--output", type=DIRECTORY, default=RESULTS, help="Where results are written.")
def main(
    workloads: tuple[str, ...],
    contenders: tuple[str, ...],
    data: Path | None,
    output: Path,
    **amounts: int,
) -> None:
    """Measure this service against its peers, all doing the same work on this machine.

    Prints tables, and writes them beside a JSON file with every raw sample. The whole run takes
    about 25 minutes on two cores that have nothing else to do, and 10 GiB on the disk of temporary
    files; it tells how long each workload took.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for crowds, on both sides
    plan = Plan(**amounts)
    chosen = [kind(plan) for kind in WORKLOADS if kind.name in workloads or not workloads]
    wanted = [each for each in CONTENDERS if each.name in contenders or not contenders]
    present, absent = partitioned(wanted)
    places = {workload.name: str(place(workload, present, data)) for workload in chosen}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    report = Report(date, machine.described(), plan, places, chosen, present, absent, Results())
    for workload in chosen:
        start = time.monotonic()
        Runner(workload, report.results).run(present, Path(places[workload.name]))
        click.echo(f"  {time.monotonic() - start:.0f} s in all", err=True)
    tables = report.write(output)
    click.echo(tables.read_text())
    click.echo(f"Written to {tables}", err=True)


def partitioned(wanted: list[Contender]) -> tuple[list[Contender], list[Contender]]:
    """Those who are installed, and the others."""
    absent = [each for each in wanted if each.is_absent]
    return [each for each in wanted if each not in absent], absent


def place(workload: Workload, contenders: list[Contender], wanted: Path | None) -> Path:
    """Where the files of all its servers have room, found out before anything is measured."""
    needed = workload.room(len(workload.field(contenders)))
    memory = None if workload.on_disk else machine.roomy_memory(needed)
    chosen = wanted or memory or Path(gettempdir())
    if shutil.disk_usage(chosen).free < needed:
        raise click.ClickException(f"{workload.name} needs {written(needed)} in {chosen}")
    return chosen


if __name__ == "__main__":
    main()
