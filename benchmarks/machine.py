"""What a run was on, for a figure without it means nothing."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

LIBRARIES = (
    *("quart-app", "quart", "hypercorn", "h11", "uvloop", "aiofiles", "multipart", "sqlalchemy"),
    *("aiosqlite", "flask", "werkzeug", "gunicorn", "starlette", "uvicorn", "httptools"),
    *("python-multipart", "anyio", "aiohttp"),
)
MEMORY = Path("/dev/shm")


def roomy_memory(needed: int) -> Path | None:
    """Files in memory, if it has room, so that the program and not a disk is measured."""
    if not MEMORY.is_dir():
        return None
    room = min(psutil.virtual_memory().available // 2, shutil.disk_usage(MEMORY).free)
    return MEMORY if needed < room else None


def described() -> dict[str, Any]:
    """Commit, libraries and machine."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain")),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "cpu": _cpu(),
        "cores": psutil.cpu_count(),
        "memory": psutil.virtual_memory().total,
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


def _cpu() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return model[1] if model else platform.machine()
