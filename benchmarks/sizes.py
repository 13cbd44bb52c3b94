"""Sizes as people write them: `64MiB`, `10 GiB`, or plain bytes."""

from __future__ import annotations

import re

import click

UNITS = {"": 1, "B": 1, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
SIZE = re.compile(r"(\d+) *([KMG]iB|B)?", re.IGNORECASE)


class Size(click.ParamType[int]):
    name = "SIZE"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        match = SIZE.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no size such as 64MiB", param, ctx)
        return int(match[1]) * UNITS[(match[2] or "").upper()]


def written(size: int) -> str:
    """The size in the largest unit that leaves no fraction."""
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % UNITS[unit.upper()] == 0:
            return f"{size // UNITS[unit.upper()]} {unit}"
    return f"{size} B"
