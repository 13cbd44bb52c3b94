"""Limits of the system that a server meets: threads, descriptors."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess

__all__ = [
    "as_somebody",
    "let_threads_start",
    "limit_threads",
    "needs_somebody",
    "place_of_somebody",
    "with_limit",
]

#: A user of this test process alone: the limit counts the threads of all processes of a user.
SOMEBODY = 1_000_000 + os.getpid()

MANY = 10_000

needs_somebody = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root may run a server as a user of its own; a limit does not bind root",
)


def as_somebody() -> tuple[str, ...]:
    """A command that runs the one after it as a user without processes, who may read all files."""
    files = "+dac_override,+dac_read_search"
    return (
        "setpriv", f"--reuid={SOMEBODY}", "--clear-groups",
        f"--inh-caps={files}", f"--ambient-caps={files}",
    )  # fmt: skip


@pytest.fixture
def place_of_somebody() -> Iterator[Path]:
    """A directory that this user owns, as `os.access` does not count what root has lent."""
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, SOMEBODY, -1)
        yield Path(place)


def with_limit(**limits: int) -> tuple[str, ...]:
    """A command that runs the one after it with limits, by their names of `prlimit`."""
    return ("prlimit", *(f"--{name}={value}" for name, value in limits.items()))


def limit_threads(server: ServerProcess, count: int) -> None:
    """From now on the worker starts no thread while its user has so many."""
    limit = ("prlimit", f"--pid={server.pid}", f"--nproc={count}:")
    subprocess.run([*as_somebody(), *limit], check=True, timeout=30)


def let_threads_start(server: ServerProcess) -> None:
    limit_threads(server, MANY)
