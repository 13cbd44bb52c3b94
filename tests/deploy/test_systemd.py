"""The documented units: well-formed, in keeping with the settings, and activated for real."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from quart_app.server.launcher import STOP_MARGIN_SECONDS
from quart_app.settings import ENV_PREFIX, Settings
from tests.deploy.nginx import SITE
from tests.deploy.programs import DEPLOY, announced, debian, python_tool, starting
from tests.e2e.clients import content, upload
from tests.server_process import STOP_SECONDS
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UNITS = DEPLOY / "systemd"

#: The most that `systemd-analyze security` may say, in tenths of its points.
MOST_EXPOSURE = 20

BYTES = content(100_000)


def values(unit: str, name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(), re.MULTILINE)


def value(unit: str, name: str) -> str:
    [found] = values(unit, name)
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as documented, with a program that is there."""
    command = value("quart-app.service", "ExecStart").split()[0]
    for unit in UNITS.iterdir():
        text = unit.read_text().replace(command, str(python_tool("quart-app", "quart-app")))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyzed(*arguments: object) -> subprocess.CompletedProcess[str]:
    program = debian("systemd-analyze", "systemd")
    command = [str(part) for part in (program, *arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_units_are_well_formed(units: Path) -> None:
    done = analyzed("verify", *sorted(units.glob("quart-app.*")))
    assert (done.returncode, done.stderr) == (0, "")  # of unknown keys it only warns


def test_malformed_units_would_be_found(units: Path) -> None:
    unit = units / "quart-app.service"
    unit.write_text(unit.read_text().replace("LockPersonality", "LockPersonalty"))
    assert "LockPersonalty" in analyzed("verify", unit).stderr


def test_service_is_locked_up(units: Path) -> None:
    unit = units / "quart-app.service"
    done = analyzed("security", "--offline=true", f"--threshold={MOST_EXPOSURE}", unit)
    assert done.returncode == 0, done.stdout


def test_systemd_is_more_patient_than_the_service() -> None:
    longest = Settings.model_fields["drain"].default + STOP_MARGIN_SECONDS
    assert int(value("quart-app.service", "TimeoutStopSec")) > longest


def test_units_and_settings_agree() -> None:
    assert value("quart-app.service", "Type") == "notify"
    assert value("quart-app.service", "ExecReload") == "/bin/kill -HUP $MAINPID"
    variables = dict(line.split("=", 1) for line in values("quart-app.service", "Environment"))
    known = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    assert variables.keys() <= known
    state = f"/var/lib/{value('quart-app.service', 'StateDirectory')}"
    assert variables["QUART_APP_DATA"] == state
    assert f"alias {state}/files/;" in SITE.read_text()
    assert f"server unix:{value('quart-app.socket', 'ListenStream')};" in SITE.read_text()


@pytest.fixture
def notices(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a service manager hears from its services (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notices"))
        listener.settimeout(STOP_SECONDS)
        yield listener


def test_socket_activation_and_notices(tmp_path: Path, notices: socket.socket) -> None:
    """As the units have it: systemd listens, and the service says what it is about."""
    place = tmp_path / "http.sock"
    activate = [
        str(debian("systemd-socket-activate", "systemd")),
        f"--listen={place}",
        f"--setenv=NOTIFY_SOCKET={notices.getsockname()}",
    ]
    with starting(tmp_path / "service", wrapper=activate) as (process, said):
        eventually(place.exists, what="systemd listens")
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(place)), base_url="http://localhost", timeout=60
        ) as client:  # the first connection starts the service, and waits for it
            file = upload(client, BYTES)
            assert announced(process, said) == f"unix:{place}"
            assert notices.recv(1000) == b"READY=1"
            assert client.get(file["url"]).content == BYTES
        process.send_signal(signal.SIGTERM)
        assert notices.recv(1000) == b"STOPPING=1"
        assert process.wait(STOP_SECONDS) == 0
