"""Every error as problem+json (RFC 9457)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, current_app
from werkzeug.exceptions import HTTPException

from quart_app.errors import QuartAppError
from quart_app.protocol.problems import PROBLEM_TYPE, code_of, problem_json

if TYPE_CHECKING:
    from flask import Flask

#: Codes of errors that the framework raises; others take theirs from the standard's phrase.
CODES = {413: "too_large", 500: "internal_error"}


def render_errors(app: Flask) -> None:
    app.register_error_handler(QuartAppError, _own)
    app.register_error_handler(HTTPException, _framework)
    app.register_error_handler(Exception, _unexpected)


def _own(error: QuartAppError) -> Response:
    body = problem_json(error.status, error.code, error.title, error.detail)
    return Response(body, error.status, error.headers, content_type=PROBLEM_TYPE)


def _framework(error: HTTPException) -> Response:
    status = error.code or 500
    body = problem_json(status, CODES.get(status) or code_of(error.name), error.name)
    response = Response(body, status, content_type=PROBLEM_TYPE)
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    current_app.logger.error("unexpected error", exc_info=error)
    return _own(QuartAppError())
