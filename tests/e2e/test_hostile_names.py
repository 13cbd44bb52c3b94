"""Names made to hurt: none reaches the disk, and each comes back harmless."""

from __future__ import annotations

import json
import re
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import pytest

from tests.e2e.clients import form, form_type, wire

if TYPE_CHECKING:
    from tests.server_process import ServerProcess

#: As sent, percent-encoded where a URL is meant; and as shown.
NAMES = {
    "up": ("../../../etc/passwd", "passwd"),
    "up to nothing": ("../..", "file"),
    "dots": ("..", "file"),
    "absolute": ("/etc/passwd", "passwd"),
    "windows": ("C:\\Windows\\win.ini", "win.ini"),
    "windows up": ("..\\..\\boot.ini", "boot.ini"),
    "nul": ("a\x00.txt", "a.txt"),
    "line breaks": ("a\r\nSet-Cookie: x=1\r\n\r\n.txt", "aSet-Cookie: x=1.txt"),
    "quotes": ('a";b=\'c\\".txt', '".txt'),
    "semicolon": ("a; filename=b.exe", "a; filename=b.exe"),
    "emoji": ("👩‍👩‍👧‍👦🦆.png", "👩‍👩‍👧‍👦🦆.png"),
    "right to left": ("invoice\u202egpj.exe", "invoicegpj.exe"),
    "isolates": ("a\u2066b\u2069.txt", "ab.txt"),
    "byte order mark": ("\ufeffa.txt", "a.txt"),
    "combining": ("e\u0301.txt", "é.txt"),
    "spaces": ("  a b  .  ", "a b"),
    "hidden": (".htaccess", ".htaccess"),
    "percent": ("%2e%2e%2f%00.txt", "%2e%2e%2f%00.txt"),
    "url": ("http://evil.example/a?b#c", "a?b#c"),
    "markup": ("<script>alert(1)</script>.txt", "script>.txt"),
    "device": ("CON", "CON"),
    "route": ("info", "info"),
    "long": ("é" * 2048 + ".tar", "é" * 125 + ".tar"),
    "long extension": ("a." + "b" * 4096, "a." + "b" * 253),
}


def upload_named(server: ServerProcess, way: str, name: str) -> dict[str, str]:
    quoted = quote(name, safe="")
    with wire(server) as client:
        match way:
            case "query":
                client.request(f"POST /upload?name={quoted}", "Content-Length: 1", body=b"x")
            case "path":
                client.request(f"PUT /upload/{quoted}", "Content-Length: 1", body=b"x")
            case "disposition":
                field = f"Content-Disposition: attachment; filename*=UTF-8''{quoted}"
                client.request("POST /upload", field, "Content-Length: 1", body=b"x")
            case _:
                body = form((f"name=\"a\"; filename*=UTF-8''{quoted}", b"x"))
                headers = [f"Content-Type: {form_type}", f"Content-Length: {len(body)}"]
                client.request("POST /upload", *headers, body=body)
        response = client.response()
        assert response.status == 201, response.read()
        file: dict[str, str] = json.loads(response.read())["files"][0]
    return file


@pytest.mark.parametrize("way", ["query", "path", "disposition", "form"])
@pytest.mark.parametrize("case", NAMES)
def test_name(server: ServerProcess, case: str, way: str) -> None:
    sent, shown = NAMES[case]
    if way == "path":  # no such route
        sent = sent.removeprefix("/").replace("\n", "")
    if way == "form":  # which has less room for a header; see the test below
        sent = sent.replace("é" * 2048, "é" * 1024)
    file = upload_named(server, way, sent)
    assert file["name"] == shown
    assert len(shown.encode()) <= 255
    assert_harmless(server, file)


def test_4_kb_name_in_a_form(server: ServerProcess) -> None:
    body = form((f'name="a"; filename="{"é" * 2048}.tar"', b"x"))
    with wire(server) as client:
        headers = [f"Content-Type: {form_type}", f"Content-Length: {len(body)}"]
        client.request("POST /upload", *headers, body=body)
        [file] = json.loads(client.response().read())["files"]
    assert file["name"] == "é" * 125 + ".tar"
    assert_harmless(server, file)


def assert_harmless(server: ServerProcess, file: dict[str, str]) -> None:
    assert server.blobs()[file["id"]].parts[-3:] == ("files", file["id"][:2], file["id"])
    assert re.fullmatch(r"/files/[a-z2-7]{26}(/[\w.~%-]+)?", file["url"], re.ASCII)
    tail = file["url"].removeprefix(f"/files/{file['id']}").lstrip("/")
    assert unquote(tail) in {file["name"], ""}
    with wire(server) as client:
        client.request(f"GET {file['url']}")
        response = client.response("GET")
        assert (response.status, response.read()) == (200, b"x")
        names = [name.lower() for name, _ in response.getheaders()]
        assert "set-cookie" not in names
        [field] = response.headers.get_all("Content-Disposition", [])
    assert_names(field, file["name"])


def assert_names(field: str, name: str) -> None:
    """Another implementation reads the same name out of the field."""
    assert field.isascii()
    message = Message()
    message["Content-Disposition"] = field
    extended = message.get_param("filename", header="Content-Disposition", unquote=True)
    kind, _, rest = field.partition(";")
    assert kind == "attachment"
    assert rest.strip().startswith('filename="')
    encoded = field.rpartition("filename*=UTF-8''")[2]
    assert unquote(encoded) == name
    assert collapse_rfc2231_value(extended)  # type: ignore[arg-type]


@pytest.mark.parametrize("raw", ["%ff%fe.txt", "%c0%ae%c0%ae%2fa", "%ed%a0%80", "%", "%zz", "a%0"])
def test_broken_percent_encoding(server: ServerProcess, raw: str) -> None:
    """No UTF-8, overlong forms, halves of characters, escapes that are none."""
    for line in (f"POST /upload?name={raw}", f"PUT /upload/{raw}"):
        with wire(server) as client:
            client.request(line, "Content-Length: 1", body=b"x")
            [file] = json.loads(client.response().read())["files"]
        assert_harmless(server, file)


@pytest.mark.parametrize("path", ["/files/../../etc/passwd", "/files/..%2f..%2fetc%2fpasswd",
                                  "/files/%00", "/files/catalog.db", "/files/aa/../../catalog.db",
                                  "/files/" + "a" * 26, "/files/" + "A" * 26, "/files/" + "x" * 999,
                                  "//files/a", "/files/%f0%9f%a6%86/info"])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_no_path_leads_elsewhere(server: ServerProcess, path: str, method: str) -> None:
    with wire(server) as client:
        client.request(f"{method} {path}")
        assert client.response(method).status in {404, 405}
