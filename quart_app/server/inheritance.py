"""What a launcher gives its workers."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import ClassVar

__all__ = ["BACKLOG", "CannotStart", "Inheritance"]

#: Connections that may wait to be accepted, on each socket.
BACKLOG = 1024


class CannotStart(Exception):
    """The service cannot start; the text says why, for the operator, unless a worker did."""


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Descriptors that a launcher gives its worker.

    Attributes:
        listeners: Listening sockets.
        ready: Pipe to write a byte to once connections are accepted.
        lifeline: Pipe that ends when the launcher does, however it does.
    """

    listeners: tuple[int, ...]
    ready: int
    lifeline: int

    VARIABLE: ClassVar = "QUART_APP_INHERITANCE"

    def dump(self) -> str:
        """Write it down for the environment of the worker."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls) -> Inheritance:
        """Read it from the environment, and take it out of there."""
        members = json.loads(os.environ.pop(cls.VARIABLE))
        return cls(tuple(members["listeners"]), members["ready"], members["lifeline"])
