"""Forms that are no forms, or too much of one: refused with a code, and nothing kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.clients import BOUNDARY, MIB, content, form, form_type, session, wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess

GOOD = ('name="a"; filename="a.bin"', content(100_000))
WHOLE = form(GOOD)
B = BOUNDARY.encode()


def cut(text: bytes) -> bytes:
    """A form up to just before some of its text."""
    return WHOLE[: WHOLE.rindex(text)]


MALFORMED = {
    # name: Content-Type, body
    "empty": (form_type, b""),
    "no boundary said": ("multipart/form-data", WHOLE),
    "empty boundary": ('multipart/form-data; boundary=""', WHOLE),
    "boundary too long": (f"multipart/form-data; boundary={'b' * 201}", WHOLE),
    "boundary with line break": ('multipart/form-data; boundary="a\tb"', WHOLE),
    "another boundary": ("multipart/form-data; boundary=other", WHOLE),
    "boundary said only": (form_type, b"--" + B),
    "cut in the header": (form_type, WHOLE[: len(B) + 20]),
    "cut after the header": (form_type, WHOLE[: WHOLE.index(b"\r\n\r\n") + 4]),
    "cut in the content": (form_type, WHOLE[:50_000]),
    "cut before the end": (form_type, cut(b"\r\n--" + B)),
    "cut in the end": (form_type, WHOLE[:-4]),
    "text before on the same line": (form_type, b"preamble" + WHOLE),
    "much text before": (form_type, b"preamble\r\n" * 2000 + WHOLE),
    "text after on the same line": (form_type, WHOLE[:-2] + b"epilogue"),
    "much text after": (form_type, WHOLE + b"epilogue" * 3000),
    "second form after": (form_type, WHOLE + WHOLE),
    "field without a name": (form_type, form(GOOD, ('foo="a"', b"x"))),
    "two dispositions": (form_type, form(('name="a"\r\nContent-Disposition: x; name="b"', b"x"))),
    "encoded": (
        form_type,
        form(('name="a"; filename="a"\r\nContent-Transfer-Encoding: base64', b"")),
    ),
    "part without disposition": (form_type, b"--%b\r\nX-A: b\r\n\r\nx\r\n--%b--\r\n" % (B, B)),
    "part without header": (form_type, b"--%b\r\n\r\nx\r\n--%b--\r\n" % (B, B)),
    "header without colon": (form_type, form(('name="a"\r\nnonsense', b"x"))),
    "some bare line feeds": (form_type, WHOLE.replace(b'"\r\n', b'"\n')),
    "field that is no text": (form_type, form(GOOD, ('name="b"', b"\xff\xfe"))),
    "good file, then nothing good": (form_type, form(GOOD, ("", b"x"))),
}

TOO_MUCH = {
    "thousands of parts": form(*[(f'name="{n}"; filename="{n}"', b"x") for n in range(2000)]),
    "thousands of fields": form(GOOD, *[('name="f"', b"x") for _ in range(2000)]),
    "huge header": form((f'name="a"; filename="a"\r\nX-Huge: {"h" * MIB}', b"x")),
    "huge name": form((f'name="{"n" * 100_000}"; filename="a"', b"x")),
    "many headers": form(('name="a"; filename="a"' + "\r\nX-A: b" * 100, b"x")),
    "huge field": form(GOOD, ('name="f"', b"f" * MIB)),
    "many large fields": form(GOOD, *[('name="f"', b"f" * 60_000) for _ in range(50)]),
    "endless header": b"--%b\r\nX-Endless: " % B + b"e" * 4 * MIB,
}


@pytest.fixture
def unchanged(server: ServerProcess) -> Iterator[ServerProcess]:
    before = server.rows().keys()
    yield server
    server.assert_settled()
    assert server.rows().keys() == before


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("declared", [True, False])
def test_malformed(unchanged: ServerProcess, case: str, declared: bool) -> None:
    kind, body = MALFORMED[case]
    with wire(unchanged) as client:
        if declared:
            length = f"Content-Length: {len(body)}"
            client.request("POST /upload", f"Content-Type: {kind}", length, body=body)
        else:
            client.request("POST /upload", f"Content-Type: {kind}", "Transfer-Encoding: chunked")
            for start in range(0, len(body), 777):
                client.chunk(body[start : start + 777])
            client.chunk(b"")
        assert client.problem() == (400, "bad_form")


@pytest.mark.parametrize("case", TOO_MUCH)
def test_too_much(unchanged: ServerProcess, case: str) -> None:
    with session(unchanged) as client:
        headers = {"Content-Type": form_type}
        response = client.post("/upload", content=TOO_MUCH[case], headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "form_too_complex")


def test_form_in_single_bytes(unchanged: ServerProcess) -> None:
    body = form(('name="a"; filename="a"', b"x"), ('name="b"', b"y"), end=b"")
    with wire(unchanged) as client:
        client.request("POST /upload", f"Content-Type: {form_type}", "Transfer-Encoding: chunked")
        for byte in body:
            client.chunk(bytes([byte]))
        client.chunk(b"")
        assert client.problem() == (400, "bad_form")


def test_content_full_of_almost_boundaries(server: ServerProcess) -> None:
    almost = b"\r\n--" + B[:-1]
    data = (almost + b"\r\n" + b"-" * 70 + b"\r\n--\r\n") * 20_000
    with session(server) as client:
        headers = {"Content-Type": form_type}
        body = form(('name="a"; filename="a"', data))
        response = client.post("/upload", content=body, headers=headers)
        [file] = response.json()["files"]
        assert client.get(file["url"]).content == data
