"""Problem details (RFC 9457), written once for every room that answers errors."""

from __future__ import annotations

import json
import re
from http import HTTPStatus

__all__ = ["PROBLEM_TYPE", "code_of", "problem_json", "problem_members", "status_problem"]

#: Media type of problem details.
PROBLEM_TYPE = "application/problem+json"


def problem_members(status: int, code: str, title: str, detail: str = "") -> dict[str, str | int]:
    """Give the members of problem details.

    Args:
        status: HTTP status.
        code: Stable, machine-readable name of the problem.
        title: The same for people.
        detail: What is special about this case; the title when "".
    """
    members: dict[str, str | int] = {"type": f"urn:quart-app:problem:{code}", "title": title}
    return members | {"status": status, "detail": detail or title, "code": code}


def problem_json(status: int, code: str, title: str, detail: str = "") -> bytes:
    """Write problem details as JSON; see `problem_members`."""
    return json.dumps(problem_members(status, code, title, detail)).encode()


def status_problem(status: int, detail: str = "") -> bytes:
    """Return problem details as JSON whose code is the name of their status.

    Args:
        status: HTTP status.
        detail: What is special about this case; the name of the status when "".
    """
    phrase = HTTPStatus(status).phrase
    return problem_json(status, code_of(phrase), phrase, detail)


def code_of(phrase: str) -> str:
    """Make a code of a status's reason phrase."""
    return re.sub(r"\W+", "_", phrase).lower()
