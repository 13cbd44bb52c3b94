"""Popular extensions of Quart: an application with each answers the same with `stream_bodies`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from quart import Quart, ResponseReturnValue, request
from quart_auth import AuthUser, QuartAuth, Unauthorized, login_required, login_user
from quart_cors import cors
from quart_rate_limiter import RateLimiter, rate_limit
from quart_schema import QuartSchema, RequestSchemaValidationError, validate_request

from quart_app.streaming import stream_bodies

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.asyncio(loop_scope="function")


@dataclass
class Todo:
    """A body that quart-schema checks."""

    task: str
    done: bool = False


def authenticating(app: Quart) -> None:
    app.secret_key = "secret of a test"
    QuartAuth(app, cookie_secure=False)

    @app.post("/login")
    async def login() -> str:
        login_user(AuthUser((await request.form)["name"]))
        return "in"

    @app.post("/own")
    @login_required
    async def own() -> bytes:
        return b"".join([chunk async for chunk in request.body])

    @app.errorhandler(Unauthorized)
    async def refuse(_: Exception) -> ResponseReturnValue:
        return "log in", 401


def crossing(app: Quart) -> None:
    @app.post("/size")
    async def size() -> dict[str, int]:
        return {"size": len(await request.get_data())}

    cors(app, allow_origin="https://example.org")


def checking(app: Quart) -> None:
    QuartSchema(app)

    @app.post("/todo")
    @validate_request(Todo)
    async def todo(data: Todo) -> dict[str, Any]:
        return {"task": data.task, "done": data.done, "raw": len(await request.get_data())}

    @app.errorhandler(RequestSchemaValidationError)
    async def refuse(_: Exception) -> ResponseReturnValue:
        return {"error": "schema"}, 400


def limiting(app: Quart) -> None:
    RateLimiter(app)

    @app.post("/limited")
    @rate_limit(2, timedelta(minutes=1))
    async def limited() -> dict[str, int]:
        return {"fields": len(await request.form)}


#: Method and target of each request, and its options for Quart's test client.
Requests = list[tuple[str, str, dict[str, Any]]]

APPLICATIONS: dict[str, tuple[Callable[[Quart], None], Requests, list[int]]] = {
    "quart-auth": (
        authenticating,
        [
            ("POST", "/own", {"data": b"abc"}),
            ("POST", "/login", {"form": {"name": "a"}}),
            ("POST", "/own", {"data": b"abc" * 100_000}),
        ],
        [401, 200, 200],
    ),
    "quart-cors": (
        crossing,
        [
            ("POST", "/size", {"data": b"abc", "headers": {"Origin": "https://example.org"}}),
            ("POST", "/size", {"data": b"abc" * 9, "headers": {"Origin": "https://example.org"}}),
            ("POST", "/size", {"data": bytes(1001)}),
            (
                "OPTIONS",
                "/size",
                {
                    "headers": {
                        "Origin": "https://example.org",
                        "Access-Control-Request-Method": "POST",
                    }
                },
            ),
        ],
        [200, 200, 413, 200],
    ),
    "quart-schema": (
        checking,
        [
            ("POST", "/todo", {"json": {"task": "a"}}),
            ("POST", "/todo", {"json": {"work": "a"}}),
            ("POST", "/todo", {"json": {"task": "a" * 2000}}),
            ("GET", "/openapi.json", {}),
        ],
        [200, 400, 413, 200],
    ),
    "quart-rate-limiter": (
        limiting,
        [("POST", "/limited", {"form": {"a": "1", "b": "2"}})] * 3,
        [200, 200, 429],
    ),
}


@pytest.mark.parametrize("extension", APPLICATIONS)
async def test_answers_are_the_same(extension: str) -> None:
    add, requests, statuses = APPLICATIONS[extension]
    answers: list[list[Any]] = []
    for streams in (False, True):
        app = Quart("extension")
        add(app)
        if extension not in {"quart-auth", "quart-rate-limiter"}:
            app.config["MAX_CONTENT_LENGTH"] = 1000
        app.register_error_handler(413, too_large)
        if streams:
            stream_bodies(app)
        client = app.test_client()
        answers.append([await exchange(client, *each) for each in requests])
    assert answers[0] == answers[1]
    assert [status for status, *_ in answers[1]] == statuses


async def too_large(_: Exception) -> ResponseReturnValue:
    return {"error": "too large"}, 413


async def exchange(client: Any, method: str, target: str, options: dict[str, Any]) -> list[Any]:
    response = await client.open(target, method=method, **options)
    fields = {name: value for name, value in response.headers.items() if name in SAME_FIELDS}
    return [response.status_code, fields, await response.get_data()]


#: Fields that do not depend on the time.
SAME_FIELDS = {
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Content-Length",
    "Content-Type",
    "Vary",
}
