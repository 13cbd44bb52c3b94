"""Errors of this package as answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response

from quart_app.protocol.caching import NO_STORE
from quart_app.protocol.problems import PROBLEM_TYPE, problem_json

if TYPE_CHECKING:
    from quart_app.errors import QuartAppError

__all__ = ["problem", "render_problem"]


def problem(error: QuartAppError) -> Response:
    """Answer an error of this package.

    Args:
        error: Its class gives `code`, `status` and `title`; its `detail` was written for clients.
    """
    response = render_problem(error.status, error.code, error.title, error.detail)
    response.headers.update(error.headers)
    return response


def render_problem(status: int, code: str, title: str, detail: str = "") -> Response:
    """Return an `application/problem+json` answer; see `problem_members` for the arguments."""
    body = problem_json(status, code, title, detail)
    return Response(body, status, {"Cache-Control": NO_STORE}, content_type=PROBLEM_TYPE)
