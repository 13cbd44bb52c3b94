"""Every setting, error code and route is documented, and the code in the docs runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quart_app import errors
from quart_app.app import create_app
from quart_app.settings import Settings, load_settings

if TYPE_CHECKING:
    from tests.server_process import ServerProcess

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
DOCS = "\n".join(page.read_text() for page in PAGES)

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#]+)")

#: Blocks of Python by page and number.
CODE = {
    f"{page.relative_to(ROOT)} {number}": code
    for page in PAGES
    for number, code in enumerate(BLOCK.findall(page.read_text()), 1)
}


def own_subclasses(root: type[errors.QuartAppError]) -> list[type[errors.QuartAppError]]:
    """Without those that are Werkzeug's too."""
    return [child for child in root.__subclasses__() if child.__module__ == errors.__name__]


def tree(root: type[errors.QuartAppError]) -> list[type[errors.QuartAppError]]:
    return [root, *(each for child in own_subclasses(root) for each in tree(child))]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_setting(name: str) -> None:
    page = (ROOT / "docs/settings.md").read_text()
    assert re.search(rf"^\|[^|]*`{name}`[^|]*\|", page, re.MULTILINE)


#: Nothing raises the base of what may be wrong with a body.
RAISED = [error for error in tree(errors.QuartAppError) if error is not errors.BodyError]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: error.code)
def test_error(error: type[errors.QuartAppError]) -> None:
    assert f"| `{error.code}` | {error.status} |" in (ROOT / "docs/errors.md").read_text()


def test_routes() -> None:
    """Under each method but those that come by themselves; names of parameters do not matter."""
    documented = re.sub(r"\{\w+\}", "{}", DOCS)
    rules = list(create_app(load_settings().settings).url_map.iter_rules())
    assert rules
    for rule in rules:
        if rule.defaults:  # the same route with a parameter left out
            continue
        path = re.sub(r"<[^>]+>", "{}", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            lines = [line for line in documented.splitlines() if method in line]
            pattern = re.compile(rf"{re.escape(path)}(?![\w/{{])")
            assert any(pattern.search(line) for line in lines), f"{method} {rule.rule}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", ["docs/threats.md", "docs/accidents.md"])
def test_named_tests_exist(page: str) -> None:
    """As `e2e/test_a.py::TestB::test_c`, below `tests/`; with or without that prefix."""
    named = re.findall(r"(?:tests/)?((?:\w+/)*test_\w+\.py)((?:::\w+)*)", (ROOT / page).read_text())
    assert named
    for path, names in named:
        code = (ROOT / "tests" / path).read_text()
        for name in filter(None, names.split("::")):
            assert re.search(rf"(?:def|class) {name}\b", code), f"{path}{names}"


def test_there_is_code() -> None:
    assert CODE


@pytest.mark.parametrize("block", CODE)
def test_code_runs(server: ServerProcess, block: str) -> None:
    """Against a real server; one that makes an application must import."""
    code = CODE[block].replace("http://127.0.0.1:8000", server.base_url)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
