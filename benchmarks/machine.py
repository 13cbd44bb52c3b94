"""What a run was on, for a figure without it means nothing."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which
from typing import Any

import psutil

LIBRARIES = (
    *("quart-app", "quart", "hypercorn", "h11", "h2", "uvloop", "aiofiles", "httpx"),
    *("sqlalchemy", "flask", "werkzeug", "gunicorn", "starlette", "uvicorn"),
    *("httptools", "python-multipart", "anyio", "aiohttp"),
)
MEMORY = Path("/dev/shm")


def roomy_memory(needed: int) -> Path | None:
    """Files in memory, if it has room, so that the program and not a disk is measured."""
    if not MEMORY.is_dir():
        return None
    room = min(psutil.virtual_memory().available // 2, shutil.disk_usage(MEMORY).free)
    return MEMORY if needed < room else None


def described() -> dict[str, Any]:
    """Commit, libraries and machine, with the load that others put on it as the run begins."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "libraries": {name: _version(name) for name in LIBRARIES} | {"nginx": _nginx()},
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu": _cpu(),
        "cores": psutil.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "load": psutil.getloadavg()[0],
    }


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _nginx() -> str | None:
    if which("nginx") is None:
        return None
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
    return said.strip().rpartition("/")[2]


def _cpu() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return model[1] if model else platform.machine()
