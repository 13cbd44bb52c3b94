"""Processes of our own beside a server, such as the far end of a relay."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.client import UnfitError
from benchmarks.server import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.client import Address


@contextmanager
def beside(module: str, *arguments: str) -> Iterator[Address]:
    """Run a module that prints the port it listens on, and end it afterwards."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        said = process.stdout.readline()
        if not said:
            raise UnfitError(f"{module} did not start")
        yield "127.0.0.1", int(said)
    finally:
        process.kill()
        process.communicate()
