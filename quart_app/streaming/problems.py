"""The one renderer of errors: RFC 9457 problem details."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from quart import Response

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
    """Make an `application/problem+json` answer (RFC 9457).

    Args:
        status: HTTP status.
        code: Stable, machine-readable name of the problem.
        title: The same for people.
        detail: What is special about this case, or "".
    """
    members = {"type": f"urn:quart-app:problem:{code}", "title": title, "status": status}
    members |= {"detail": detail or title, "code": code}
    return Response(json.dumps(members), status, content_type="application/problem+json")
