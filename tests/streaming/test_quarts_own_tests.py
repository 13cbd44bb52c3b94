"""Quart's own tests, as they are and with `stream_bodies` on every application.

Quart's source distribution has no tests. `QUART_SOURCE` names a checkout of its repository, at the
version that is installed; without it the comparison is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = os.environ.get("QUART_SOURCE")

ROOT = Path(__file__).parents[2]

#: Tests whose outcome differs, with the reason.
DIFFERENCES: Mapping[str, str] = {}


def outcomes(report: Path, *options: str) -> dict[str, bool]:
    """Runs the tests; whether each passed, by name."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options,
               "--override-ini=addopts=", f"--junit-xml={report}", "tests"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, timeout=300)
    cases = ET.parse(report).iter("testcase")  # a file of our own
    return {
        f"{case.get('classname')}::{case.get('name')}": case.find("failure") is None
        and case.find("error") is None
        for case in cases
    }


@pytest.mark.skipif(SOURCE is None, reason="QUART_SOURCE names no checkout of Quart")
def test_outcomes_are_the_same(tmp_path: Path) -> None:
    stock = outcomes(tmp_path / "stock.xml")
    streaming = outcomes(tmp_path / "streaming.xml", "-p", "tests.streaming.quart_plugin")
    assert len(stock) > 200
    differing = {name for name in stock.keys() | streaming.keys()
                 if stock.get(name) != streaming.get(name)}  # fmt: skip
    assert differing == DIFFERENCES.keys()
