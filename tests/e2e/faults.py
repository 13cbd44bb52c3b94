"""Troubles of a server that no client can cause: `TEST_FAULTS` names those it starts with."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from quart import Quart
from werkzeug.datastructures import ImmutableDict

__all__ = ["impatient_quart", "no_duplicates", "stalled_disk"]

POLL_SECONDS = 0.02


def stalled_disk() -> None:
    """No write ends until the file that `TEST_DISK_WORKS` names is there."""
    works = Path(os.environ["TEST_DISK_WORKS"])
    writev = os.writev

    def stalled(descriptor: int, buffers: Any) -> int:
        while not works.exists():
            time.sleep(POLL_SECONDS)
        return writev(descriptor, buffers)

    os.writev = stalled


def no_duplicates() -> None:
    """No descriptor can be duplicated, as where none is left."""

    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    os.dup = refuse


def impatient_quart() -> None:
    """Quart's limit on whole responses is a second, in place of a minute."""
    Quart.default_config = ImmutableDict(Quart.default_config | {"RESPONSE_TIMEOUT": 1})
