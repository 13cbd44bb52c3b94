"""Digests behind a body: verified before anything is acknowledged."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import MIB, content, form, form_type, wire
from tests.server.http2_client import http2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.server_process import ServerProcess

DATA = content(1 * MIB + 3)
FORM = form(('name="a"; filename="a.bin"', DATA))
READING = "POST /read_data"
UPLOAD = "POST /upload"

Field = tuple[str, str]


def digest(data: bytes, algorithm: str = "sha256", name: str = "Content-Digest") -> Field:
    encoded = base64.b64encode(hashlib.new(algorithm, data).digest()).decode()
    return name, f"{algorithm[:3]}-{algorithm[3:]}=:{encoded}:"


ANNOUNCED = ("Trailer", "Expires, content-digest")
WRONG_512 = digest(DATA[:-1], "sha512")

CASES: dict[str, tuple[str, bytes, Sequence[Field], Sequence[Field], tuple[int, str | None]]] = {
    # name: request, body, header fields, trailer fields, status and code
    "right": (UPLOAD, DATA, [], [digest(DATA)], (201, None)),
    "wrong": (UPLOAD, DATA, [], [digest(DATA[:-1])], (400, "digest_mismatch")),
    "put": ("PUT /upload/a", DATA, [], [digest(DATA[:-1])], (400, "digest_mismatch")),
    "other field": (
        UPLOAD, DATA, [], [digest(DATA[:-1], name="repr-digest")], (400, "digest_mismatch"),
    ),
    "announced": (UPLOAD, DATA, [ANNOUNCED], [digest(DATA)], (201, None)),
    "announced, wrong": (UPLOAD, DATA, [ANNOUNCED], [digest(b"")], (400, "digest_mismatch")),
    "announced, none": (UPLOAD, DATA, [ANNOUNCED], [], (201, None)),
    "announced, another algorithm": (
        UPLOAD, DATA, [ANNOUNCED], [digest(DATA, "sha512")], (201, None),
    ),
    "announced, another algorithm, wrong": (
        UPLOAD, DATA, [ANNOUNCED], [WRONG_512], (400, "digest_mismatch"),
    ),
    "another algorithm unannounced": (UPLOAD, DATA, [], [WRONG_512], (400, "bad_digest")),
    "in both places": (UPLOAD, DATA, [digest(DATA)], [digest(DATA)], (201, None)),
    "in both places, one wrong": (
        UPLOAD, DATA, [digest(DATA)], [digest(b"")], (400, "digest_mismatch"),
    ),
    "in both places, the other wrong": (
        UPLOAD, DATA, [digest(b"")], [digest(DATA)], (400, "digest_mismatch"),
    ),
    "malformed": (UPLOAD, DATA, [], [("Content-Digest", "nonsense=")], (400, "bad_digest")),
    "unknown": (UPLOAD, DATA, [], [("Content-Digest", "md5=:AAAA:")], (201, None)),
    "on two lines": (
        UPLOAD, DATA, [ANNOUNCED], [digest(DATA), WRONG_512], (400, "digest_mismatch"),
    ),
    "other trailers": (UPLOAD, DATA, [], [("X-Sum", "5")], (201, None)),
    "empty body": (UPLOAD, b"", [], [digest(b"x")], (400, "digest_mismatch")),
    "form": (UPLOAD, FORM, [], [digest(FORM)], (201, None)),
    "form, wrong": (UPLOAD, FORM, [], [digest(DATA)], (400, "digest_mismatch")),
    "form, announced": (UPLOAD, FORM, [ANNOUNCED], [WRONG_512], (400, "digest_mismatch")),
    "reading": (READING, DATA, [], [digest(DATA)], (200, None)),
    "reading, wrong": (READING, DATA, [], [digest(DATA[:-1])], (400, "digest_mismatch")),
    "reading, form": (READING, FORM, [], [digest(DATA)], (400, "digest_mismatch")),
}  # fmt: skip

LENGTH = ("content-length", str(len(FORM)))

WITH_LENGTH = {
    "raw": (UPLOAD, FORM, [LENGTH], [digest(DATA)], (400, "digest_mismatch")),
    "form": (UPLOAD, FORM, [LENGTH, ANNOUNCED], [digest(DATA)], (400, "digest_mismatch")),
    "form, right": (UPLOAD, FORM, [LENGTH, ANNOUNCED], [digest(FORM)], (201, None)),
    "form, unannounced": (UPLOAD, FORM, [LENGTH], [digest(FORM)], (400, "bad_digest")),
}


@pytest.fixture(autouse=True)
def stored(server: ServerProcess, request: pytest.FixtureRequest) -> Iterator[None]:
    """A file more is listed if the answer is 201, and none else."""
    before = server.rows().keys()
    yield
    status = request.node.callspec.params["case"][-1][0]
    assert len(server.rows().keys() - before) == (status == 201)
    server.assert_settled()


def kind_of(name: str, body: bytes) -> Field:
    as_form = body is FORM and name != "raw"
    return "Content-Type", form_type if as_form else "text/plain"


@pytest.mark.parametrize("case", [(name, *case) for name, case in CASES.items()], ids=CASES)
def test_http1(server: ServerProcess, case: tuple) -> None:  # type: ignore[type-arg]
    name, line, body, headers, trailers, expected = case
    with wire(server) as client:
        sent = [f"{n}: {v}" for n, v in [kind_of(name, body), *headers]]
        client.request(line, *sent, "Transfer-Encoding: chunked")
        for start in range(0, len(body), 100_000):
            client.chunk(body[start : start + 100_000])
        client.send("".join(["0\r\n", *(f"{n}: {v}\r\n" for n, v in trailers), "\r\n"]).encode())
        response = client.response()
        answer = response.read()
        code = json.loads(answer)["code"] if response.status >= 400 else None
        assert (response.status, code) == expected


@pytest.mark.parametrize(
    "case",
    [(name, *case) for name, case in [*CASES.items(), *WITH_LENGTH.items()]],
    ids=[*CASES, *(f"length, {name}" for name in WITH_LENGTH)],
)
def test_http2(server: ServerProcess, case: tuple) -> None:  # type: ignore[type-arg]
    name, line, body, headers, trailers, expected = case
    with http2(server) as client:
        fields = [(n.lower(), v) for n, v in [kind_of(name, body), *headers]]
        stream = client.request(*line.split(" "), *fields, end=False)
        client.send(stream, body, end=not trailers)
        if trailers:
            lowered = [(n.lower(), v) for n, v in trailers]
            client.h2.send_headers(stream, lowered, end_stream=True)
            client.flush()
        answer = client.answer(stream)
        code = json.loads(answer.body)["code"] if answer.status >= 400 else None
        assert (answer.status, code) == expected
