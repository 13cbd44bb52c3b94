"""The log of a real server under requests that try to write into it, or hold secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.e2e.clients import wire
from tests.e2e.origins import Origin, answer
from tests.server_process import ServerProcess
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Logged(ServerProcess):
    """A server whose log a test judges by itself."""

    def logs(self) -> list[dict[str, Any]]:
        return []


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    running = Origin()
    yield running
    running.close()


def ask(server: ServerProcess, line: str, *headers: str, body: bytes = b"") -> int:
    with wire(server) as client:
        client.request(line, *headers, f"Content-Length: {len(body)}", body=body)
        response = client.response(line.partition(" ")[0])
        response.read()
        return response.status


@pytest.mark.parametrize("style", ["text", "json"])
def test_attacked_log(tmp_path: Path, origin: Origin, style: str) -> None:
    # The server answers a head that no parser takes: the error's text holds some of it.
    broken = answer(b"", "X-A\x1b]0;\x07: https://user:SECRET@h/?SECRET")
    url = origin.on("/broken", lambda visit: visit.send(broken))
    origin.on("/file", lambda visit: visit.answer(b"x"))
    secret = "https://user:SECRET@127.0.0.1:1/a?sig=SECRET"
    settings = {"log_format": style, "allow_fetch": json.dumps([origin.netloc])}
    with Logged(tmp_path, settings) as server:
        assert ask(server, "GET /%1b%5d0;x%0d%0a%c2%9b%e2%80%ae%ff") == 404
        assert ask(server, f"GET /{secret}") == 400
        assert ask(server, f"GET /{quote(secret, safe='')}") == 400
        assert ask(server, f"GET /{quote(quote(secret, safe=''), safe='')}") == 404
        assert ask(server, f"GET /{origin.url}/file?sig=SECRET") == 200
        assert ask(server, f"GET /{url}?sig=SECRET") == 502
        assert ask(server, "GET /https://no-such-name.invalid/?sig=SECRET") == 502
        body = json.dumps({"url": f"{url}?sig=SECRET"}).encode()
        assert ask(server, "POST /fetch", body=body) == 502
        assert ask(server, "POST /upload?name=%1b%5b31m%0aSECRET", body=b"x") == 201
        name = 'Content-Disposition: attachment; filename="\x9b31m"'
        assert ask(server, "POST /upload", name, "User-Agent: \xe2\x80\xae", body=b"x") == 201
        assert ask(server, f"GET /{'%1b' * 4000}") == 404
        eventually(lambda: server.err.read_text().count("quart_app.access") >= 11)
    lines = server.err.read_text(errors="strict").splitlines()
    assert all(line.isprintable() for line in lines), lines
    assert not any("SECRET" in line or len(line) > 16_384 for line in lines)
    assert any("/%1b%5d0;x%0d%0a%c2%9b%e2%80%ae%ff" in line for line in lines)
    assert any(f"/{origin.url}/file" in line for line in lines)
    if style == "json":
        assert all(isinstance(json.loads(line), dict) for line in lines)
