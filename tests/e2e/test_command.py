"""The two commands, and the same application under Hypercorn's own."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from quart_app.cli import main
from quart_app.settings import Settings
from tests.e2e.clients import MIB, content, session, upload, wire
from tests.server_process import ROOT, SERVE
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from tests.server_process import ServerProcess

    Start = Callable[..., ServerProcess]

HYPERCORN = (sys.executable, "-m", "hypercorn", "quart_app.asgi:app", "--bind", "127.0.0.1:0")
SCRIPT = Path(sys.executable).with_name("quart-app")


def ended(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the console script to its end."""
    environment = {"PATH": "/usr/bin:/bin"} | variables
    command = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)


def invoked(*arguments: object, **variables: str) -> Result:
    """The same without a process of its own, which takes a second."""
    return CliRunner().invoke(main, list(map(str, arguments)), env=variables)


def test_hypercorn_serves_the_same(start: Start) -> None:
    server = start(command=HYPERCORN)
    data = content(20 * MIB)
    with session(server) as client:
        file = upload(client, data)
        assert client.get(file["url"]).content == data
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.get(file["url"], headers={"Range": "bytes=-5"}).content == data[-5:]
    with wire(server) as reader:
        # Refused before it is told to go on, which stock Hypercorn would do.
        reader.request("POST /upload", f"Content-Length: {1024**6}", "Expect: 100-continue")
        assert reader.socket.recv(12) == b"HTTP/1.1 413"


def test_announcement_is_all_on_standard_output(start: Start) -> None:
    server = start(settings={"host": "::1"}, command=SERVE)
    said = f"serving on {server.base_url}\n"  # after the worker has logged where it runs
    eventually(lambda: server.out.read_text() == said, what="the launcher says so")
    with socket.create_connection(("::1", server.port)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


class TestCannotStart:
    """One line says why."""

    def refused(self, directory: Path, *arguments: object, **variables: str) -> str:
        done = ended("serve", "--data", directory / "data", "--port", 0, *arguments, **variables)
        assert (done.returncode, done.stdout) == (1, "")
        [line] = done.stderr.splitlines()
        return line

    @pytest.mark.parametrize("workers", [1, 2])
    def test_port_in_use(self, server: ServerProcess, tmp_path: Path, workers: int) -> None:
        line = self.refused(tmp_path, "--port", server.port, "--workers", workers)
        assert line == (
            f"quart-app: cannot listen on 127.0.0.1 port {server.port}: Address already in use"
        )

    def test_unix_socket_in_use(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()
            line = self.refused(tmp_path, "--unix-socket", tmp_path / "s")
        assert line.endswith("/s: Address already in use")

    def test_unix_socket_with_a_long_path(self, tmp_path: Path) -> None:
        line = self.refused(tmp_path, "--unix-socket", tmp_path / ("s" * 120))
        assert line.endswith(": AF_UNIX path too long")

    @pytest.mark.parametrize("path", ["missing", "/etc/passwd"])
    def test_certificate(self, tmp_path: Path, path: str) -> None:
        line = self.refused(tmp_path, "--certfile", path, "--keyfile", path)
        assert line.startswith("quart-app: cannot use certificate and key: ")

    @pytest.mark.parametrize("count", ["5", "junk"])
    def test_activation_without_sockets(self, tmp_path: Path, count: str) -> None:
        script = 'LISTEN_PID=$$ exec "$@"'
        command = ["sh", "-c", script, "-", str(SCRIPT), "serve", "--data", str(tmp_path / "data")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60,
                              env={"PATH": "/usr/bin:/bin", "LISTEN_FDS": count})  # fmt: skip
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith(f"quart-app: LISTEN_FDS={count} does not count sockets: ")


class TestSettings:
    def rows(self, text: str) -> dict[str, tuple[str, str]]:
        found = [re.split(r"\s{2,}", line.strip(), maxsplit=2) for line in text.splitlines()]
        return {row[0]: (row[1], row[2]) for row in found}

    def test_origins(self, tmp_path: Path) -> None:
        file = tmp_path / "own.toml"
        file.write_text('host = "0.0.0.0"\nport = 1\ndrain = 5.5\nmax_upload_size = "10GiB"\n')
        done = invoked(
            "settings", "--port", 3, "--config", file,
            QUART_APP_PORT="2", QUART_APP_DRAIN="7", QUART_APP_DATA="/srv",
        )  # fmt: skip
        assert done.exit_code == 0
        rows = self.rows(done.stdout)
        assert rows.keys() == Settings.model_fields.keys()
        assert rows["port"] == ("3", "flag --port")
        assert rows["drain"] == ("7.0", "variable QUART_APP_DRAIN")
        assert rows["data"] == ("/srv", "variable QUART_APP_DATA")
        assert rows["host"] == ("0.0.0.0", f"file {file}")
        assert rows["max_upload_size"] == (str(10 * 1024**3), f"file {file}")
        assert rows["log_level"] == ("info", "default")

    def test_config_file_by_variable(self, tmp_path: Path) -> None:
        file = tmp_path / "own.toml"
        file.write_text("port = 1\n")
        rows = self.rows(invoked("settings", QUART_APP_CONFIG=str(file)).stdout)
        assert rows["port"] == ("1", f"file {file}")

    @pytest.mark.parametrize("command", ["serve", "settings"])
    def test_every_setting_is_a_flag(self, command: str) -> None:
        said = invoked(command, "--help").stdout
        flags = [f"--{name.replace('_', '-')} " for name in Settings.model_fields]
        assert [flag for flag in flags if flag not in said] == []


BAD = [
    # arguments, variables, TOML, what the line says
    (["--port", "70000"], {}, "", "port (flag --port)"),
    (["--port", "http"], {}, "", "port (flag --port)"),
    ([], {"QUART_APP_DRAIN": "-1"}, "", "drain (variable QUART_APP_DRAIN)"),
    ([], {"QUART_APP_MAX_UPLOAD_SIZE": "lots"}, "", "max_upload_size (variable"),
    (["--stall-timeout", "0"], {}, "", "stall_timeout (flag --stall-timeout)"),
    (["--log-format", "xml"], {}, "", "log_format (flag --log-format)"),
    ([], {}, "port = 'x'", "port (file "),
    ([], {}, "prot = 1", "prot (file "),
    ([], {}, "port = ", "settings file "),
    ([], {}, None, "settings file "),
]


@pytest.mark.parametrize("command", ["serve", "settings"])
@pytest.mark.parametrize(("arguments", "variables", "toml", "said"), BAD)
def test_bad_settings(
    tmp_path: Path,
    command: str,
    arguments: list[str],
    variables: dict[str, str],
    toml: str | None,
    said: str,
) -> None:
    file = tmp_path / "own.toml"
    if toml is not None:
        file.write_text(toml)
    config = ["--config", file] if toml != "" else []
    done = invoked(command, *arguments, *config, **variables)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.mark.parametrize("flag", ["--prot=1", "--port=-1"])
def test_bad_flag(flag: str) -> None:
    done = ended("serve", flag)
    assert (done.returncode, done.stdout) == (2, "")
    assert flag.partition("=")[0].lstrip("-") in done.stderr
    assert "Traceback" not in done.stderr


def test_modules_that_the_command_needs_are_no_tests() -> None:
    """The console script and `python -m quart_app` are the same command."""
    as_module = subprocess.run(
        [sys.executable, "-m", "quart_app", "settings"], capture_output=True, text=True, cwd=ROOT
    )
    assert as_module.stdout == ended("settings").stdout
