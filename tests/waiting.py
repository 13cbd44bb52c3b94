"""Waiting on conditions: no test sleeps for a time it hopes is long enough."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["comes_to_nothing", "eventually", "settled_value"]

T = TypeVar("T")

POLL_SECONDS = 0.005


def eventually(condition: Callable[[], T | None], *, seconds: float = 30, what: str = "") -> T:
    """Gives the first true value of the condition, and fails at the deadline."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(POLL_SECONDS)
    return value


def comes_to_nothing(leftovers: Callable[[], T], *, seconds: float = 30) -> None:
    """Waits until nothing is left over, and tells what still is at the deadline."""
    deadline = time.monotonic() + seconds
    while value := leftovers():
        assert time.monotonic() < deadline, f"left over after {seconds} s: {value}"
        time.sleep(POLL_SECONDS)


def settled_value(value: Callable[[], T], *, seconds: float = 1) -> T:
    """Gives a value that has not changed for some seconds."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(POLL_SECONDS)
        if (now := value()) != last:
            last, since = now, time.monotonic()
    return last
