"""A disk that writes slowly, the same for whoever writes: the kernel's own limit on a loop device.

The file system is in memory, and mounted so that each write goes to the device at once, as it does
on any disk whose page cache has had enough. It takes root and the first version of cgroups.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from benchmarks.machine import MEMORY
from benchmarks.workloads.workload import UnavailableError
from quart_app.models import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

BYTES_PER_SECOND = 8 * MIB
IMAGE_SIZE = 2 * GIB
LIMIT = Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device")


@contextmanager
def mounted(place: Path) -> Iterator[None]:
    """A slow disk at an empty directory."""
    if os.geteuid() or not LIMIT.exists():
        raise UnavailableError("a slow disk takes root, and a kernel with the cgroup blkio")
    with TemporaryDirectory(prefix="benchmark-disk-", dir=MEMORY) as directory:
        image = Path(directory, "image")
        with image.open("wb") as file:
            file.truncate(IMAGE_SIZE)
        _run("mkfs.ext4", "-q", "-O", "^has_journal", str(image))
        _run("mount", "-o", "loop,sync,noatime", str(image), str(place))
        try:
            _limit(place, BYTES_PER_SECOND)
            try:
                yield
            finally:
                _limit(place, 0)
        finally:
            _run("umount", "--lazy", str(place))


def _limit(place: Path, bytes_per_second: int) -> None:
    """Set it for the device, whose number may be that of another one next time."""
    device = place.stat().st_dev
    LIMIT.write_text(f"{os.major(device)}:{os.minor(device)} {bytes_per_second}")


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise UnavailableError(f"a slow disk takes {command[0]}") from None
    except subprocess.CalledProcessError as error:
        raise UnavailableError(f"{command[0]}: {error.stderr.strip()}") from None
