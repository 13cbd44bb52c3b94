"""Whether the process is up, and whether it should get work."""

from __future__ import annotations

from quart import Blueprint

from quart_app.errors import Draining
from quart_app.web.context import services

__all__ = ["health"]

health = Blueprint("health", __name__)


@health.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer while the process is up."""
    return {"status": "ok"}


@health.get("/readyz")
async def readyz() -> dict[str, str]:
    """Answer 200 while storage and catalog do and the service is not stopping."""
    if services().draining:
        raise Draining
    await services().files.check()
    return {"status": "ready"}
