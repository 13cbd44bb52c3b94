"""What the comparison rests on: a true table, and a Flask version that is one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from benchmarks import servers
from tests.contract.api.differences import DIFFERENCES


@pytest.mark.parametrize("name", DIFFERENCES)
def test_is_there(name: str) -> None:
    file, *path = name.split("::")
    found: ast.AST = ast.parse(Path(__file__).with_name(file).read_text())
    for each in path:
        found = next(node for node in ast.walk(found) if getattr(node, "name", "") == each)


def test_flask_shares_rules_alone() -> None:
    """Whatever moves bytes or waits is its own."""
    shared = {"errors", "models", "protocol"}
    modules = list((Path(servers.__file__).parent / "flask_app").glob("*.py"))
    assert modules
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom):
                package, *room = (node.module or "").split(".")
                assert package != "quart_app" or room[0] in shared, module
