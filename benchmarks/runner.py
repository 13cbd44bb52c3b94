"""Contenders in turn, round after round, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from benchmarks.client import UnfitError
from benchmarks.results import Failure, Results, Sample
from benchmarks.server import Server
from benchmarks.workloads.workload import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.contenders import Contender
    from benchmarks.workloads.workload import Turn, Workload

TROUBLE = (UnfitError, OSError, HTTPException)


class Runner:
    """Runs one workload against all who take part, and drops those that fail."""

    def __init__(self, workload: Workload, results: Results) -> None:
        self.workload = workload
        self.results = results

    def run(self, contenders: Sequence[Contender], root: Path) -> None:
        """Add to the results; `root` gets a fresh directory that is gone afterwards."""
        click.echo(f"{self.workload.name}: {self.workload.title}", err=True)
        with TemporaryDirectory(prefix="benchmark-", dir=root) as home, ExitStack() as running:
            try:
                given = running.enter_context(self.workload.surroundings(Path(home)))
            except UnavailableError as error:
                self._leave_out(str(error))
                return
            field = self.workload.field(contenders)
            servers = [Server(each, Path(home, each.name), given) for each in field]
            turns = self._prepared(servers, running)
            for number in range(1, self.workload.rounds + 1):
                for server, turn in turns.items():
                    self._take(number, server, turn)

    def _prepared(self, servers: Sequence[Server], running: ExitStack) -> dict[Server, Turn]:
        turns = {}
        for server in servers:
            with self._failures_noted(server):
                running.enter_context(server)
                turns[server] = self.workload.prepare(server)
        return turns

    def _take(self, number: int, server: Server, turn: Turn) -> None:
        name = server.contender.name
        if self.results.failure(self.workload.name, name):
            return
        if number > (server.contender.most_rounds or number):
            return
        with self._failures_noted(server):
            sample = Sample(self.workload.name, name, number, turn())
            self.results.samples.append(sample)
            metrics = self.workload.metrics
            figures = (f"{sample.figures[m.name]:,.2f} {m.title}" for m in metrics)
            click.echo(f"  {number}. {name}: {', '.join(figures)}", err=True)

    def _leave_out(self, reason: str) -> None:
        self.results.left_out[self.workload.name] = reason
        click.echo(f"  not measured: {reason}", err=True)

    @contextmanager
    def _failures_noted(self, server: Server) -> Iterator[None]:
        """Trouble ends the part of one contender in this workload, and of nobody else."""
        try:
            yield
        except TROUBLE as error:
            name = server.contender.name
            reason = f"{type(error).__name__}: {error}"
            self.results.failures.append(Failure(self.workload.name, name, reason))
            click.echo(f"  {name} failed. {reason}\n{server.last_words()}", err=True)
