"""Plugin for pytest that adds `stream_bodies` to every application that a test makes."""

from __future__ import annotations

from typing import Any

from quart import Quart

from quart_app.streaming import stream_bodies

_begin = Quart.__init__


def _begin_streaming(self: Quart, *args: Any, **kwargs: Any) -> None:
    _begin(self, *args, **kwargs)
    stream_bodies(self)


Quart.__init__ = _begin_streaming  # type: ignore[method-assign]
