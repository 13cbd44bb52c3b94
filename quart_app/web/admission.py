"""New work is refused while descriptors are short, so that what is under way can go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import request

from quart_app.errors import Overloaded
from quart_app.streaming import descriptors_short

if TYPE_CHECKING:
    from quart import Quart

__all__ = ["refuse_overload"]

#: What is answered all the same: whether the process is up.
ALWAYS_ADMITTED = {"health.healthz"}


def refuse_overload(app: Quart) -> None:
    """Have an application refuse requests (503) while only the reserve of descriptors is left."""
    app.before_request(_admit)


async def _admit() -> None:
    if request.endpoint not in ALWAYS_ADMITTED and descriptors_short():
        raise Overloaded
