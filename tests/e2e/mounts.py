"""File systems of a server's own, in a mount namespace that goes when it does."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server_process import ServerProcess

__all__ = ["entered", "on_tmpfs", "read_only", "remounted"]

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")


def on_tmpfs(place: Path, size_mib: int) -> list[str]:
    """A wrapper for a command that finds a small, empty file system at a place."""
    return _mounted(f"mount -t tmpfs -o size={size_mib}m tmpfs '{place}'", place)


def read_only(place: Path) -> list[str]:
    """A wrapper for a command that can write nothing below a place."""
    return _mounted(
        f"mount --bind '{place}' '{place}' && mount -o remount,bind,ro '{place}'", place
    )


def _mounted(mount: str, place: Path) -> list[str]:
    place.mkdir(parents=True, exist_ok=True)
    return [*NAMESPACE, f'{mount} && exec "$@"', "sh"]


def remounted(server: ServerProcess, place: Path, options: str) -> None:
    """Mounts a place of a running server with other options."""
    entered(server, "mount", "-o", f"remount,{options}", str(place))


def entered(server: ServerProcess, *command: str) -> None:
    """Runs a command in the mount namespace of a running server."""
    enter = ["nsenter", "--preserve-credentials", "--user", "--mount", "--target", str(server.pid)]
    subprocess.run([*enter, *command], check=True, timeout=30)
