"""Every error is problem+json of one shape, and tells nothing of the inside."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from quart_app import errors
from tests.e2e.clients import form_type, wire

if TYPE_CHECKING:
    from tests.server_process import ServerProcess

NO_SUCH_ID = "a" * 26

ASKED = [
    # request line, headers, body, status, code
    ("GET /nowhere", [], b"", 404, "not_found"),
    ("GET /upload", [], b"", 405, "method_not_allowed"),
    ("DELETE /files", [], b"", 405, "method_not_allowed"),
    ("PATCH /healthz", [], b"", 405, "method_not_allowed"),
    (f"GET /files/{NO_SUCH_ID}", [], b"", 404, "not_found"),
    (f"GET /files/{NO_SUCH_ID}/info", [], b"", 404, "not_found"),
    (f"DELETE /files/{NO_SUCH_ID}", [], b"", 404, "not_found"),
    ("GET /files/%00", [], b"", 404, "not_found"),
    ("GET /files?limit=x", [], b"", 400, "bad_request"),
    ("GET /files?cursor=x", [], b"", 400, "bad_cursor"),
    ("POST /upload", ["Content-Digest: sha-256=1"], b"x", 400, "bad_digest"),
    ("POST /upload", ["Repr-Digest: sha-256=:" + "A" * 43 + "=:"], b"x", 400, "digest_mismatch"),
    ("POST /upload", ["Content-Encoding: br"], b"x", 415, "unsupported_encoding"),
    ("POST /upload", ["Expires-In: x"], b"x", 400, "bad_request"),
    ("POST /upload", [f"Content-Type: {form_type}"], b"x", 400, "bad_form"),
    ("PUT /upload/a", ["Content-Range: bytes 0-0/2"], b"x", 400, "bad_request"),
]

#: What would tell of the inside.
INTERNAL = re.compile(r'Traceback|File \\?"|\.py\b|/tmp/|sqlite|Error\(|<class|site-packages')


@pytest.mark.parametrize(("line", "headers", "body", "status", "code"), ASKED)
def test_problem(
    server: ServerProcess, line: str, headers: list[str], body: bytes, status: int, code: str
) -> None:
    with wire(server) as client:
        client.request(line, *headers, f"Content-Length: {len(body)}", body=body)
        response = client.response()
        text = response.read().decode()
    problem = json.loads(text)
    assert response.status == problem["status"] == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert list(problem) == ["type", "title", "status", "detail", "code"]
    assert problem["code"] == code
    assert problem["type"] == f"urn:quart-app:problem:{code}"
    assert all(isinstance(problem[key], str) and problem[key] for key in ("title", "detail"))
    assert not INTERNAL.search(text)
    if status == 405:
        assert response.headers["Allow"]


def test_head_of_a_problem_has_no_body(server: ServerProcess) -> None:
    with wire(server) as client:
        client.request(f"HEAD /files/{NO_SUCH_ID}")
        response = client.response("HEAD")
        assert (response.status, response.read()) == (404, b"")
        assert response.headers["Content-Type"] == "application/problem+json"
        client.request("GET /healthz")
        assert client.response("GET").status == 200


def own_subclasses(root: type[errors.QuartAppError]) -> list[type[errors.QuartAppError]]:
    """Without those that are Werkzeug's too."""
    return [child for child in root.__subclasses__() if child.__module__ == errors.__name__]


def tree(root: type[errors.QuartAppError]) -> list[type[errors.QuartAppError]]:
    return [root, *(each for child in own_subclasses(root) for each in tree(child))]


def test_codes_are_stable_names_and_differ() -> None:
    """A body that cannot be read and a request that cannot be understood share a status only."""
    classes = tree(errors.QuartAppError)
    codes = [each.code for each in classes]
    assert len(set(codes)) == len(codes)
    for each in classes:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", each.code)
        assert 400 <= each.status <= 599
        assert each.title
    names = [*(each.__name__ for each in classes), "CannotStart"]  # which no client is told
    assert sorted(errors.__all__) == errors.__all__ == sorted(names)


def test_health(server: ServerProcess) -> None:
    with wire(server) as client:
        for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
            client.request(f"GET {path}")
            assert json.loads(client.response("GET").read()) == {"status": status}
