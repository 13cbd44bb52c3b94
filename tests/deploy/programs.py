"""Programs of other people that these tests run, and the service run without a back door."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.server_process import ROOT, SERVE, START_SECONDS, STOP_SECONDS
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["DEPLOY", "Service", "debian", "python_tool", "service"]

#: Where the documented files are.
DEPLOY = ROOT / "docs" / "deploy"

PLACES = os.pathsep.join(("/usr/sbin", "/usr/bin", "/sbin", "/bin"))

INSTALL_SECONDS = 300


def debian(program: str, package: str) -> Path:
    """A program of Debian's, installed when it is missing; without it the test fails."""
    if (found := shutil.which(program, path=PLACES)) is None:
        assert os.geteuid() == 0, f"{program} is missing, and only root can install {package}"
        with Path(tempfile.gettempdir(), "quart-app-test-install").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # tests of other processes may want one too
            _install(package)
        found = shutil.which(program, path=PLACES)
    assert found is not None, f"{package} has no {program}"
    return Path(found)


def _install(package: str) -> None:
    # The variable keeps a package that brings a service from starting it.
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (("update",), ("install", "--yes", "--no-install-recommends", package)):
        done = subprocess.run(
            ["apt-get", "--quiet", *command],
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            env=environment,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def python_tool(program: str, distribution: str) -> Path:
    """A program that a Python distribution brings, before the machine's."""
    found = shutil.which(program, path=Path(sys.executable).parent) or shutil.which(program)
    assert found is not None, f"{program} is missing: pip install {distribution}"
    return Path(found)


@dataclass(frozen=True, slots=True)
class Service:
    """A running service.

    Attributes:
        process: Its launcher.
        address: Where it says that it serves.
        err: What it logs.
    """

    process: subprocess.Popen[bytes]
    address: str
    err: Path


@contextmanager
def service(
    directory: Path,
    *flags: str,
    wrapper: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """Runs the service as it comes, and expects it to end well when asked."""
    with starting(directory, *flags, wrapper=wrapper, variables=variables) as (process, said):
        yield Service(process, announced(process, said), said.with_name("err"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0, said.with_name("err").read_text()[-4000:]


@contextmanager
def starting(
    directory: Path,
    *flags: str,
    wrapper: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Runs the service without waiting for it; gives its process, and the file of its output."""
    directory.mkdir(parents=True, exist_ok=True)
    said = directory / "out"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("QUART_APP_")}
    own = ("--data", str(directory / "data"), "--discard-timeout=2", "--log-format=json")
    with said.open("wb") as out, (directory / "err").open("wb") as err:
        process = subprocess.Popen(
            [*wrapper, *SERVE, *own, *flags],
            cwd=ROOT,
            env=inherited | dict(variables or {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
    try:
        yield process, said
    finally:
        process.kill()  # its workers end with it
        process.wait()


def announced(process: subprocess.Popen[bytes], said: Path) -> str:
    """Waits until the service says where it serves."""

    def address() -> str:
        assert process.poll() is None, said.with_name("err").read_text()[-4000:]
        found = re.match(r"serving on (\S+)\n", said.read_text())
        return found[1] if found else ""

    return eventually(address, seconds=START_SECONDS, what="the service starts")
