"""Forms as real clients send them, outside the grammar: every route reads them in the same way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import content, form, form_type, session
from tests.e2e.origins import Origin, Visit

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

DATA = content(100_000)

Case = tuple[str, bytes, str, dict[str, list[str]]]


def named(disposition: str, encoding: str = "utf-8") -> bytes:
    """A form with one file."""
    return form(("#", DATA)).replace(b"#", disposition.encode(encoding), 1)


def bounded(boundary: str, parameter: str) -> tuple[str, bytes]:
    """A form with one file, under a boundary of its own."""
    lines = [f"--{boundary}", 'Content-Disposition: form-data; name="a"; filename="a.bin"', "", ""]
    end = f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={parameter}"
    return kind, "\r\n".join(lines).encode() + DATA + end


PLAIN = named('name="a"; filename="a.bin"')
CHARSET = (
    'name="f"\r\nContent-Type: text/plain; charset=ISO-8859-1\r\nContent-Transfer-Encoding: 8bit'
)

CASES: dict[str, Case] = {
    # name: Content-Type, body, name of the file, fields
    **{
        name: (form_type, body, file, {})
        for name, body, file in [
            ("unquoted with a space", named("name=a; filename=My cat.png"), "My cat.png"),
            ("unquoted with parentheses", named("name=a; filename=b (1).png"), "b (1).png"),
            ("unquoted path", named("name=a; filename=c/b.png"), "b.png"),
            ("unquoted letters", named("name=a; filename=日本語.png"), "日本語.png"),
            ("quote inside", named('name="a"; filename="6" nail.png"'), '6" nail.png'),
            ("escaped quote", named('name="a"; filename="6\\" nail.png"'), '6" nail.png'),
            ("encoded quote", named('name="a"; filename="6%22 nail.png"'), '6" nail.png'),
            ("whole path", named('name="a"; filename="C:\\docs\\b.png"'), "b.png"),
            ("field that ends with a backslash", named('name="a\\"; filename="b.png"'), "b.png"),
            ("no end of a quote", named('name="a"; filename="b.png'), "b.png"),
            ("code page", named('name="a"; filename="Übung €.png"', "cp1252"), "Übung €.png"),
            ("unknown charset", named("name=a; filename*=x''b.png; filename=c.png"), "c.png"),
            ("only an unknown charset", named("name=a; filename*=x''b.png"), "b.png"),
            ("bad percent-encoding", named("name=a; filename*=UTF-8''b%2.png"), "b%2.png"),
            ("not UTF-8", named("name=a; filename*=UTF-8''b%E9.png"), "bé.png"),
            ("continued", named('name=a; filename*0="b"; filename*1=".png"'), "b.png"),
            ("encoded word", named('name=a; filename="=?utf-8?B?w6kucG5n?="'), "é.png"),
            ("nothing that can be shown", named("name=a; filename*=UTF-8''%00"), "file"),
            ("no value", named("name=a; filename"), "file"),
            ("empty name", named('name=a; filename=""'), "file"),
            ("no name of the field", named('filename="a.bin"'), "a.bin"),
            ("another disposition", PLAIN.replace(b"form-data", b"attachment"), "a.bin"),
            ("preamble", b"This is MIME.\r\n\r\n" + PLAIN, "a.bin"),
            ("epilogue", PLAIN + b"\r\nThe end.", "a.bin"),
            ("no last line break", PLAIN[:-2], "a.bin"),
            ("padded boundaries", PLAIN.replace(b'a-test\r\n', b"a-test \t\r\n"), "a.bin"),
            ("folded", named('name="a";\r\n\tfilename="a.bin"'), "a.bin"),
            ("bytes in a header", PLAIN.replace(b"\r\n", b"\r\nX-A:\t\xff\xfe\r\n", 1), "a.bin"),
            ("wrong length", named('name="a"; filename="a.bin"\r\nContent-Length: 7'), "a.bin"),
            ("many headers", named('name="a"; filename="a.bin"' + "\r\nX-A: b" * 30), "a.bin"),
        ]
    },
    "asterisks": (*bounded("*****", "*****"), "a.bin", {}),
    "asterisks in quotes": (*bounded("*****", '"*****"'), "a.bin", {}),
    "long boundary": (*bounded("b" * 200, "b" * 200), "a.bin", {}),
    "line feeds": (
        form_type, PLAIN.replace(DATA, b"#").replace(b"\r\n", b"\n").replace(b"#", DATA),
        "a.bin", {},
    ),
    "field in its charset": (
        form_type, form((CHARSET, b"caf\xe9"), ('name="a"; filename="a.bin"', DATA)),
        "a.bin", {"f": ["café"]},
    ),
    "field in the charset of the form": (
        form_type,
        form(("name=_charset_", b"latin1"), ("name=f", b"\xe9"), ("name=a; filename=a.bin", DATA)),
        "a.bin", {"_charset_": ["latin1"], "f": ["é"]},
    ),
    "empty part without a line break": (
        form_type, form(('name="f"', b""), end=b"")[:-2] + PLAIN,
        "a.bin", {"f": [""]},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    running = Origin()
    yield running
    running.close()


@pytest.fixture
def server(shared_server: Servers, origin: Origin) -> ServerProcess:
    return shared_server(proxy_targets=json.dumps({"default": f"{origin.url}/default"}))


@pytest.fixture
def client(server: ServerProcess) -> Iterator[httpx.Client]:
    with session(server) as client:
        yield client


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("chunked", [False, True])
def test_unusual(client: httpx.Client, origin: Origin, case: str, chunked: bool) -> None:
    def echo(visit: Visit) -> None:
        visit.answer(visit.body(), f"Content-Type: {visit.head['content-type']}")

    origin.on("/default", echo)
    kind, body, name, fields = CASES[case]

    def post(url: str) -> httpx.Response:
        sent = iter([body[:90], body[90:91], body[91:]]) if chunked else body
        return client.post(url, content=sent, headers={"Content-Type": kind})

    kept = post("/upload")
    assert kept.status_code == 201, kept.text
    [file] = kept.json()["files"]
    assert (file["name"], kept.json()["fields"]) == (name, fields)
    assert client.get(file["url"]).content == DATA
    lines = [json.loads(line) for line in post("/convert").text.splitlines()]
    assert (lines[-1]["filename"] or "file", lines[-1]["size"]) == (name, len(DATA))
    assert post("/read_data").content == DATA
    passed = post("/proxy")
    assert (passed.content, passed.headers["content-type"]) == (body, kind)


def test_file_input_that_was_left_empty(client: httpx.Client) -> None:
    body = form(('name="a"; filename=""', b""), ('name="b"; filename="b"', b""))
    response = client.post("/upload", content=body, headers={"Content-Type": form_type})
    assert [file["name"] for file in response.json()["files"]] == ["b"]
