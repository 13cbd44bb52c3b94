"""The default of `Cache-Control`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart_app.protocol.caching import NO_STORE

if TYPE_CHECKING:
    from quart import Quart, Response

__all__ = ["forbid_storing"]


def forbid_storing(app: Quart) -> None:
    """Add `Cache-Control: no-store` to every answer of an application that lacks the field."""
    app.after_request(_forbid)


async def _forbid(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", NO_STORE)
    return response
