"""The layers and measures of the code, read from the source."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import quart_app

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(quart_app.__file__).parent

#: Rooms from the ground up; one may import those of the lines above its own, and itself.
STOREYS = [
    {"errors", "models"},
    {"protocol"},
    {"logs"},
    {"settings", "streaming"},
    {"storage", "catalog", "upstream"},
    {"services"},
    {"web", "server", "data"},
    {"app"},
    {"cli", "asgi", "maintain", "worker"},
    {"__main__"},
]

#: What a pure room does without: the network, the disk, the clock, the framework.
IMPURE = {"aiofiles", "asyncio", "httpx", "hypercorn", "os", "pathlib", "quart", "socket",
          "sqlalchemy", "subprocess", "tempfile", "threading", "time", "werkzeug"}  # fmt: skip

MOST_LINES = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_A_ROUTE = 30

GRAB_BAGS = {"base", "common", "helpers", "manager", "misc", "utils"}

MODULES = sorted(ROOT.rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]

each_module = pytest.mark.parametrize("path", MODULES, ids=NAMES)


def storey(room: str) -> int:
    return next(level for level, rooms in enumerate(STOREYS) if room in rooms)


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    """Whole names of what is imported, wherever and for whatever."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function; its docstring and decorators do not count."""
    first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 2


@each_module
def test_imports_point_down(path: Path) -> None:
    here = room_of(path)
    if here == "__init__":
        return
    for name in imported(ast.parse(path.read_text())):
        package, *rest = name.split(".")
        if package == "quart_app" and rest[0] != here:
            assert storey(rest[0]) < storey(here), f"{here} imports {name}"


@each_module
def test_pure_rooms_are_pure(path: Path) -> None:
    forbidden = {"protocol": IMPURE, "services": {"h11", "httpx", "hypercorn", "quart", "werkzeug"}}
    packages = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
    assert packages & forbidden.get(room_of(path), set()) == set()


@each_module
def test_nothing_is_imported_inside_a_function(path: Path) -> None:
    for function in functions(ast.parse(path.read_text())):
        assert list(imported(function)) == [], function.name


@each_module
def test_measures(path: Path) -> None:
    assert not GRAB_BAGS & set(path.relative_to(ROOT).with_suffix("").parts)
    assert len(path.read_text().splitlines()) <= MOST_LINES
    for function in functions(ast.parse(path.read_text())):
        routed = any(is_route(decorator) for decorator in function.decorator_list)
        most = MOST_LINES_OF_A_ROUTE if routed else MOST_LINES_OF_A_FUNCTION
        assert length(function) <= most, function.name


def is_route(decorator: ast.expr) -> bool:
    function = decorator.func if isinstance(decorator, ast.Call) else None
    verbs = {"get", "post", "put", "patch", "delete", "route"}
    return isinstance(function, ast.Attribute) and function.attr in verbs


def test_every_room_has_its_storey() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms <= set().union(*STOREYS)


def test_only_the_wiring_names_concrete_classes() -> None:
    """Drivers and catalogs are named in their own rooms and in `data` alone."""
    concrete = {"LocalDriver", "MemoryDriver", "SqlCatalog", "MemoryCatalog"}
    for path in MODULES:
        if room_of(path) not in {"data", "storage", "catalog"}:
            names = {name.split(".")[-1] for name in imported(ast.parse(path.read_text()))}
            assert names & concrete == set(), path
