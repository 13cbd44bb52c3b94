"""Every error as problem+json; nothing internal reaches a client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from werkzeug.exceptions import HTTPException

from quart_app.errors import BodyError, Overloaded, QuartAppError
from quart_app.protocol.problems import code_of
from quart_app.streaming import problem, render_problem

if TYPE_CHECKING:
    from quart import Quart, Response

__all__ = ["render_errors"]

LOG = structlog.get_logger("quart_app.web")

#: Codes of errors that the framework raises; others take theirs from the standard's phrase.
CODES = {413: "too_large", 500: "internal_error"}


def render_errors(app: Quart) -> None:
    """Answer every error of an application as problem+json (RFC 9457)."""
    for kind in (BodyError, QuartAppError):  # the first is answered by `stream_bodies` otherwise
        app.register_error_handler(kind, _own)
    app.register_error_handler(HTTPException, _framework)
    app.register_error_handler(Exception, _unexpected)


async def _own(error: QuartAppError) -> Response:
    if error.status >= 500 and not isinstance(error, Overloaded):  # ours to look into
        LOG.warning("request failed", code=error.problem_code, cause=repr(error.__cause__))
    return problem(error)


async def _framework(error: HTTPException) -> Response:
    status = error.code or 500
    code = CODES.get(status) or code_of(error.name)
    response = render_problem(status, code, error.name)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


async def _unexpected(error: Exception) -> Response:
    LOG.error("unexpected error", exc_info=error)
    return problem(QuartAppError())
