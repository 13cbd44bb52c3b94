"""Conversion of this package's errors into responses and into Werkzeug errors."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from quart import Response, current_app
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)

from quart_app import errors
from quart_app.protocol.caching import NO_STORE
from quart_app.protocol.problems import PROBLEM_TYPE, problem_json

if TYPE_CHECKING:
    from quart.typing import ResponseReturnValue

    from quart_app.errors import BodyError, QuartAppError

__all__ = ["answer_body_error", "as_http_error", "problem", "render_problem"]

#: Werkzeug classes for errors of a request body, by status.
HTTP_CLASSES: dict[int, type[HTTPException]] = {
    408: RequestTimeout,
    413: RequestEntityTooLarge,
    415: UnsupportedMediaType,
}

#: Errors of incomplete bodies, which become Werkzeug's `ClientDisconnected`.
INCOMPLETE = (errors.ClientDisconnected, errors.BodyTooShort)


def problem(error: QuartAppError) -> Response:
    """Return the response for an error of this package.

    Args:
        error: The error. Its `detail` is shown to the client.
    """
    response = render_problem(error.status, error.problem_code, error.title, error.detail)
    response.headers.update(error.headers)
    return response


def render_problem(status: int, code: str, title: str, detail: str = "") -> Response:
    """Return an `application/problem+json` response. For the arguments, see `problem_members`."""
    body = problem_json(status, code, title, detail)
    return Response(body, status, {"Cache-Control": NO_STORE}, content_type=PROBLEM_TYPE)


def as_http_error(error: BodyError) -> BodyError:
    """Return an error that is both a `BodyError` and the corresponding Werkzeug error.

    An application can then handle this error like the errors of stock Quart, with `except
    RequestEntityTooLarge`, `except HTTPException` or `errorhandler(413)`. As in Werkzeug, the
    `code` of the returned error is the HTTP status. Its `problem_code` is the stable error code.

    Args:
        error: The error whose class, arguments, attributes and cause are copied.
    """
    kind: Any = type(error)
    if issubclass(kind, HTTPException):
        return error
    combined = _combined(kind)
    both = combined.__new__(combined, *error.args)
    both.__dict__.update(error.__dict__, description=error.detail or error.title, response=None)
    both.__cause__ = error.__cause__
    return both


@cache
def _combined(ours: type[BodyError]) -> type[BodyError]:
    return type(ours.__name__, (ours, _http_class(ours)), {
        "code": ours.status, "problem_code": ours.code, "get_response": _get_response,
        "__module__": __name__, "__str__": Exception.__str__, "__doc__": ours.__doc__,
    })  # fmt: skip


def _http_class(ours: type[BodyError]) -> type[HTTPException]:
    if issubclass(ours, INCOMPLETE):
        return ClientDisconnected
    return HTTP_CLASSES.get(ours.status, BadRequest)


def _get_response(error: Any, *_: object) -> Response:
    return problem(error)


async def answer_body_error(error: BodyError) -> HTTPException | ResponseReturnValue:
    """Return the application's response to the Werkzeug error that corresponds to a body error.

    If the application has no handler for the Werkzeug error, return a problem+json response.
    """
    http_error = _http_class(type(error))(error.detail or error.title, problem(error))
    http_error.__cause__ = error
    return await current_app.handle_http_exception(http_error)
