"""Bodies converted while they arrive: both ways at once, bounded, and honest about what breaks."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
import threading
import zlib
from http.client import HTTPException, HTTPResponse, IncompleteRead
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.clients import MIB, content, curl, form, form_type, session, sha256, wire
from tests.server.http2_client import http2
from tests.server_process import SERVE, ServerProcess
from tests.waiting import comes_to_nothing, eventually, settled_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import httpx

    from tests.conftest import Servers
    from tests.e2e.clients import Wire

    Start = Callable[..., ServerProcess]

CHUNKED = "Transfer-Encoding: chunked"
STALL_SECONDS = 1
WINDOW = 64 * 1024

BYTES = content(8 * MIB)
ROWS = 60_000
CSV = b"id,name\r\n" + b"".join(b'%d,"n ""%d"""\r\n' % (n, n) for n in range(ROWS))
NDJSON = b"".join(b'{"id":"%d","name":"n \\"%d\\""}\n' % (n, n) for n in range(ROWS))

CODECS = ["gzip", "gunzip", "csv-to-ndjson", "ndjson-to-csv"]

#: For each codec an input, a small one, and the type of the output.
INPUTS = {
    "gzip": BYTES,
    "gunzip": gzip.compress(BYTES, 1),
    "csv-to-ndjson": CSV,
    "ndjson-to-csv": NDJSON,
}
SMALL_INPUTS = {
    "gzip": b"small",
    "gunzip": gzip.compress(b"small"),
    "csv-to-ndjson": b"a\nsmall",
    "ndjson-to-csv": b'{"a":"small"}',
}
TYPES = {
    "gzip": "application/gzip",
    "gunzip": "application/octet-stream",
    "csv-to-ndjson": "application/x-ndjson",
    "ndjson-to-csv": "text/csv; charset=utf-8",
}

each_codec = pytest.mark.parametrize("codec", CODECS)


def same(codec: str, output: bytes) -> bool:
    """Whether it is what comes of the input, by the tools of the standard library."""
    if codec == "gzip":
        return gzip.decompress(output) == BYTES
    if codec == "gunzip":
        return output == BYTES
    if codec == "csv-to-ndjson":
        return output == NDJSON
    rows = list(csv.DictReader(io.StringIO(output.decode(), newline="")))
    return rows == [json.loads(line) for line in NDJSON.splitlines()]


@pytest.fixture
def server(shared_server: Servers) -> Iterator[ServerProcess]:
    """A server of little patience that must hold nothing more afterwards."""
    server = shared_server(stall_timeout=STALL_SECONDS)
    before = server.rows().keys()
    yield server
    server.assert_settled()
    assert server.rows().keys() == before


def convert(server: ServerProcess, codec: str, data: bytes, **headers: str) -> httpx.Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    with session(server) as client:
        return client.post(f"/convert/{codec}", content=data, headers=fields)


def refusal(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.status_code, response.json()["code"]


def begun(client: Wire, codec: str, *headers: str) -> None:
    client.request(f"POST /convert/{codec}", CHUNKED, *headers)


def in_background(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def send_whole(client: Wire, data: bytes, size: int = 100_000) -> None:
    for start in range(0, len(data), size):
        client.chunk(data[start : start + size])
    client.chunk(b"")


@each_codec
class TestBodies:
    def test_curl(self, server: ServerProcess, codec: str, tmp_path: Path) -> None:
        path = tmp_path / "input"
        path.write_bytes(INPUTS[codec])
        url = f"{server.base_url}/convert/{codec}"
        for arguments in (["--data-binary", f"@{path}"], ["-H", CHUNKED, "-T", path]):
            assert same(codec, curl("-X", "POST", *arguments, url))

    def test_httpx(self, server: ServerProcess, codec: str) -> None:
        """It sends all before it reads, which works for what the buffers hold."""
        response = convert(server, codec, SMALL_INPUTS[codec])
        assert response.status_code == 200
        assert response.headers["Content-Type"] == TYPES[codec]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"] == "sandbox"

    def test_answer_begins_before_the_body_ends(self, server: ServerProcess, codec: str) -> None:
        data = INPUTS[codec]
        with wire(server) as client:
            begun(client, codec)
            client.chunk(data[:300_000])
            response = client.response()
            assert response.status == 200
            early = response.read1()
            assert early
            sending = in_background(lambda: send_whole(client, data[300_000:]))
            assert same(codec, early + response.read())
            sending.join()


def test_gzip_gives_what_it_holds_when_nothing_more_comes(server: ServerProcess) -> None:
    unpacking = zlib.decompressobj(31)
    with wire(server) as client:
        begun(client, "gzip")
        client.chunk(b"first")
        response = client.response()
        for expected in (b"first", b"second", b"third"):
            got = b""
            while got != expected:
                got += unpacking.decompress(response.read1())
            client.chunk({b"first": b"second", b"second": b"third"}.get(expected, b""))
        assert unpacking.decompress(response.read()) == b""
    assert unpacking.eof


@pytest.mark.parametrize(
    ("codec", "data", "expected", "said"),
    [
        ("gunzip", b"no gzip", (400, "bad_gzip"), "no gzip"),
        ("gunzip", b"", (400, "bad_gzip"), "cut"),
        ("csv-to-ndjson", b"a,b\n1,2\n1\n", (400, "bad_record"), "Line 3: 1 fields"),
        ("csv-to-ndjson", b'a\n1\n"x', (400, "bad_record"), "Line 3: a quote"),
        ("gunzip", gzip.compress(BYTES[:1000], mtime=0)[:-1], (400, "bad_gzip"), "cut"),
        ("csv-to-ndjson", b"a\n" + b"1\n" * 5000 + b"1,2", (400, "bad_record"), "Line 5002: 2"),
        ("csv-to-ndjson", b"a\n\xff\n", (415, "not_text"), "UTF-8"),
        ("ndjson-to-csv", b'{"a":1}\n{\n', (400, "bad_record"), "Line 2: it is no JSON"),
        ("ndjson-to-csv", b"[1]\n", (400, "bad_record"), "Line 1: it is no JSON object"),
        ("ndjson-to-csv", b'{"a":1,"a":2}', (400, "bad_record"), "Line 1: an object has two"),
        (
            "csv-to-ndjson",
            b"a\n" + b"x" * 1_100_000 + b"\n",
            (400, "bad_record"),
            "Line 2: the row",
        ),
        ("csv-to-ndjson", b"\xef", (415, "not_text"), ""),
        ("ndjson-to-csv", b"\xef\xbb", (415, "not_text"), ""),
        ("rot13", b"a", (404, "not_found"), "gunzip"),
    ],
)
def test_errors_before_the_first_byte(
    server: ServerProcess, codec: str, data: bytes, expected: tuple[int, str], said: str
) -> None:
    response = convert(server, codec, data)
    assert refusal(response) == expected
    assert said in response.json()["detail"]


def test_refused_unread(server: ServerProcess, shared_server: Servers) -> None:
    assert refusal(convert(server, "gzip", b"a", Content_Encoding="br")) == (
        415,
        "unsupported_encoding",
    )
    response = convert(server, "gzip", form(('name="a"', b"")), Content_Type=form_type)
    assert refusal(response) == (400, "bad_request")
    limited = shared_server(max_upload_size="4MiB")
    assert refusal(convert(limited, "gzip", BYTES)) == (413, "too_large")


def broken(response: HTTPResponse) -> bytes:
    """Reads an answer that must not end as a whole one does; gives what came."""
    assert response.status == 200
    with pytest.raises(IncompleteRead) as caught:
        response.read()
    return caught.value.partial


BAD_TAILS = {
    "gunzip": b"\0damage",
    "csv-to-ndjson": b"1,2,3\r\n",
    "ndjson-to-csv": b"{\n",
}


class TestBreakingOff:
    """Once bytes are out, an answer that fails has no clean end."""

    @pytest.mark.parametrize("codec", BAD_TAILS)
    def test_bad_input(self, server: ServerProcess, codec: str) -> None:
        with wire(server) as client:
            begun(client, codec)
            client.chunk(INPUTS[codec][:300_000].rpartition(b"\n")[0] + b"\n")
            response = client.response()
            assert response.read1()
            client.chunk(BAD_TAILS[codec] * 10_000)
            broken(response)

    @each_codec
    @pytest.mark.parametrize("how", ["end", "wait"])
    def test_sender_stops(self, server: ServerProcess, codec: str, how: str) -> None:
        with wire(server) as client:
            begun(client, codec)
            client.chunk(INPUTS[codec][:300_000])
            response = client.response()
            assert response.read1()
            if how == "end":
                client.end()
            broken(response)

    @each_codec
    def test_body_shorter_than_declared(self, server: ServerProcess, codec: str) -> None:
        with wire(server) as client:
            data = INPUTS[codec][:300_000]
            client.request(f"POST /convert/{codec}", f"Content-Length: {2 * MIB}", body=data)
            response = client.response()
            assert response.read1()
            client.end()
            broken(response)

    @each_codec
    def test_client_is_gone(self, server: ServerProcess, codec: str) -> None:
        with wire(server, WINDOW) as client:
            begun(client, codec)
            client.chunk(INPUTS[codec][:300_000])
            client.response().read1()
            client.reset()
        comes_to_nothing(server.handling, seconds=10)

    @each_codec
    def test_client_is_gone_before_the_answer(self, server: ServerProcess, codec: str) -> None:
        with wire(server) as client:
            begun(client, codec)
            eventually(server.handling, what="the body is read")
            client.reset()
        comes_to_nothing(server.handling, seconds=10)

    def test_too_large(self, shared_server: Servers) -> None:
        server = shared_server(max_upload_size="4MiB")
        with wire(server) as client:
            begun(client, "gzip")
            sending = in_background(lambda: send_whole(client, BYTES))
            broken(client.response())
            sending.join()

    def test_client_that_sends_all_before_it_reads(self, server: ServerProcess) -> None:
        """What it sends is more than fits: it is told so by the end of the connection."""
        with wire(server, WINDOW) as client:
            begun(client, "gzip")
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                for _ in range(64):
                    send_whole(client, BYTES)
        comes_to_nothing(server.handling, seconds=10)


class TestBombs:
    BOMB = gzip.compress(bytes(64 * MIB))

    def test_ratio(self, server: ServerProcess) -> None:
        with wire(server) as client:
            length = f"Content-Length: {len(self.BOMB)}"
            client.request("POST /convert/gunzip", length, body=self.BOMB)
            assert len(broken(client.response())) <= 16 * MIB

    @pytest.mark.parametrize(
        ("codec", "data"),
        [
            ("csv-to-ndjson", b"a" * 400_000 + b"," + b"b" * 400_000 + b"\n" + b",\n" * 1000),
            (
                "ndjson-to-csv",
                json.dumps({str(n): 0 for n in range(50_000)}).encode() + b"\n{}" * 5000,
            ),
        ],
    )
    def test_ratio_of_tables(self, shared_server: Servers, codec: str, data: bytes) -> None:
        server = shared_server(max_ratio=20)
        with wire(server) as client:
            length = f"Content-Length: {len(data)}"
            client.request(f"POST /convert/{codec}", length, body=data)
            assert len(broken(client.response())) <= max(16 * MIB, 20 * len(data))

    def test_size(self, shared_server: Servers) -> None:
        server = shared_server(max_upload_size="4MiB")
        data = gzip.compress(BYTES[: 3 * MIB].hex().encode())
        with wire(server) as client:
            client.request("POST /convert/gunzip", f"Content-Length: {len(data)}")
            sending = in_background(lambda: client.send(data))
            assert len(broken(client.response())) <= 4 * MIB
            sending.join()


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


class TestForms:
    def test_parts(self, server: ServerProcess) -> None:
        body = form(
            ('name="a"; filename="C:\\\\x\\\\a.csv"', BYTES[: 3 * MIB]),
            ('name="é€"', b"field"),
            ('name="c"; filename=""', b""),
            ("name=\"d\"; filename*=UTF-8''%e2%82%ac.gz\r\nContent-Type: text/x-odd", b"x"),
        )
        with session(server) as client:
            response = client.post("/convert", content=body, headers={"Content-Type": form_type})
        assert response.headers["Content-Type"] == "application/x-ndjson"
        assert [list(line.values()) for line in lines(response.content)] == [
            ["a", "a.csv", 3 * MIB, sha256(BYTES[: 3 * MIB]), "text/csv"],
            ["é€", None, 5, sha256(b"field"), "text/plain"],
            ["c", "", 0, sha256(b""), "application/octet-stream"],
            ["d", "€.gz", 1, sha256(b"x"), "text/x-odd"],
        ]
        assert list(lines(response.content)[0]) == ["name", "filename", "size", "sha256",
                                                    "media_type"]  # fmt: skip

    def test_no_parts(self, server: ServerProcess) -> None:
        with session(server) as client:
            headers = {"Content-Type": form_type}
            response = client.post("/convert", content=form(), headers=headers)
        assert (response.status_code, response.content) == (200, b"")

    def test_any_number_of_parts(self, shared_server: Servers) -> None:
        """Each may be as large as a file: nothing of them is held."""
        server = shared_server(max_upload_size="1MiB", max_form_parts=10)
        file = ('name="a"; filename="a"', BYTES[:MIB])
        parts = [file, *[('name="b"', b"")] * 1100, file, file, file]
        with session(server) as client:
            headers = {"Content-Type": form_type}
            response = client.post("/convert", content=form(*parts), headers=headers)
        assert [line["size"] for line in lines(response.content)] == [
            len(content) for _, content in parts
        ]

    def test_part_that_is_too_large(self, shared_server: Servers) -> None:
        server = shared_server(max_upload_size="1MiB")
        body = form(('name="a"; filename="a"', BYTES[: MIB + 1]))
        with session(server) as client:
            response = client.post("/convert", content=body, headers={"Content-Type": form_type})
        assert refusal(response) == (413, "too_large")
        assert "1048576" in response.json()["detail"]

    def test_coded_form(self, server: ServerProcess) -> None:
        headers = {"Content-Type": form_type, "Content-Encoding": "gzip"}
        with session(server) as client:
            response = client.post("/convert", content=gzip.compress(form()), headers=headers)
        assert refusal(response) == (415, "unsupported_encoding")

    def test_lines_come_as_parts_end(self, server: ServerProcess) -> None:
        parts = [(f'name="{n}"; filename="{n}.bin"', BYTES[: n * MIB]) for n in range(3)]
        whole = form(*parts)
        with wire(server) as client:
            client.request("POST /convert", CHUNKED, f"Content-Type: {form_type}")
            client.chunk(form(parts[0], end=b""))
            for number in range(1, 3):
                client.chunk(form(parts[number], end=b""))
                if number == 1:
                    response = client.response()
                assert json.loads(response.readline())["size"] == (number - 1) * MIB
            client.chunk(whole[-len(form()) :])
            client.chunk(b"")
            assert json.loads(response.readline())["size"] == 2 * MIB
            assert response.read() == b""

    def test_curl(self, server: ServerProcess, tmp_path: Path) -> None:
        path = tmp_path / "a.bin"
        path.write_bytes(BYTES)
        said = curl("-F", f"a=@{path}", "-F", f"b=@{path}", f"{server.base_url}/convert")
        assert [line["sha256"] for line in lines(said)] == [sha256(BYTES)] * 2

    @pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data", ""])
    def test_no_form(self, server: ServerProcess, kind: str) -> None:
        with session(server) as client:
            response = client.post("/convert", content=b"a", headers={"Content-Type": kind})
        assert refusal(response) == (400, "bad_form")

    def test_form_that_is_cut_in_its_first_part(self, server: ServerProcess) -> None:
        body = form(('name="a"; filename="a"', BYTES[:MIB]), end=b"")
        with session(server) as client:
            response = client.post("/convert", content=body, headers={"Content-Type": form_type})
        assert refusal(response) == (400, "bad_form")

    def test_form_that_is_cut_later(self, server: ServerProcess) -> None:
        first, second = (('name="a"; filename="a"', BYTES[:size]) for size in (0, MIB))
        with wire(server) as client:
            client.request("POST /convert", CHUNKED, f"Content-Type: {form_type}")
            client.chunk(form(first, second, end=b""))
            response = client.response()
            assert json.loads(response.readline())["size"] == 0
            client.chunk(b"")
            assert broken(response) == b""


HYPERCORN = (sys.executable, "-m", "hypercorn", "quart_app.asgi:app", "--bind", "127.0.0.1:0")


@pytest.mark.parametrize("codec", CODECS)
def test_on_plain_hypercorn(start: Start, codec: str) -> None:
    server = start(command=HYPERCORN)
    data = INPUTS[codec]
    with wire(server) as client:
        begun(client, codec)
        client.chunk(data[:300_000])
        response = client.response()
        early = response.read1()
        assert early
        sending = in_background(lambda: send_whole(client, data[300_000:]))
        assert same(codec, early + response.read())
        sending.join()
    with wire(server) as client:
        begun(client, codec)
        client.chunk(data[:300_000])
        response = client.response()
        client.end()
        with pytest.raises((HTTPException, ConnectionError)):
            response.read()


SMALL_MIB, LARGE_MIB = 16, 80
MOST_GROWTH = 24 * MIB


#: What kernels and the service may hold of a transfer.
MOST_UNDER_WAY_MIB = 64


def blocks(codec: str, numbers: Iterable[int]) -> Iterator[bytes]:
    """Input for a codec, about a MiB for each number."""
    if codec == "gzip":
        for number in numbers:
            yield number.to_bytes(8, "big") + BYTES[8:MIB]
    elif codec == "gunzip":
        packer = zlib.compressobj(1, wbits=31)
        for number in numbers:
            yield packer.compress(number.to_bytes(8, "big") + BYTES[8:MIB])
        yield packer.flush()
    else:
        head, row = {
            "csv-to-ndjson": (b"a,b\n", b'"%s",1\n' % (b"x" * 1014 + b'""')),
            "ndjson-to-csv": (b"", b'{"a":"%s\\"","b":1}\n' % (b"x" * 1004)),
        }[codec]
        yield head
        for _ in numbers:
            yield row * 1024


def streamed(client: Wire, codec: str, numbers: Iterable[int]) -> Iterator[bytes]:
    """Converts so much, both ways at once; gives the output, unpacked."""
    begun(client, codec)

    def send() -> None:
        for block in filter(None, blocks(codec, numbers)):
            client.chunk(block)
        client.chunk(b"")

    sending = in_background(send)
    response = client.response()
    assert response.status == 200
    unpacking = zlib.decompressobj(31)
    while data := response.read(MIB):
        yield unpacking.decompress(data) if codec == "gzip" else data
    sending.join()


def expected(codec: str, count_mib: int) -> Iterator[bytes]:
    """The same, made by hand."""
    if codec in {"gzip", "gunzip"}:
        return blocks("gzip", range(count_mib))
    if codec == "csv-to-ndjson":
        return repeat(b'{"a":"%s\\"","b":"1"}\n' % (b"x" * 1014), count_mib * 1024)
    row = b'"%s""",1\r\n' % (b"x" * 1004)
    return chain([b"a,b\r\n"], repeat(row, count_mib * 1024))


def measured(data: Iterable[bytes]) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    for block in data:
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


@each_codec
class TestLarge:
    def test_memory_is_flat(self, start: Start, codec: str) -> None:
        server = start(command=SERVE)
        peaks = []
        for count_mib in (SMALL_MIB, LARGE_MIB):
            with wire(server) as client:
                output = streamed(client, codec, range(count_mib))
                assert measured(output) == measured(expected(codec, count_mib))
            peaks.append(server.memory("VmHWM"))
        assert peaks[1] - peaks[0] < MOST_GROWTH, [f"{peak / MIB:.0f} MiB" for peak in peaks]

    def test_slow_reader_slows_the_sender(self, shared_server: Servers, codec: str) -> None:
        """A reader that pauses stops the sender; when it reads on, all of it arrives."""
        server = shared_server()
        enough = threading.Event()
        sent = [0]

        def numbers() -> Iterator[int]:
            while sent[0] < 1024 and not enough.is_set():
                sent[0] += 1
                yield sent[0] - 1

        with wire(server, WINDOW) as client:
            output = streamed(client, codec, numbers())
            first = next(output)
            settled_value(lambda: sent[0])
            assert sent[0] < MOST_UNDER_WAY_MIB
            with session(server) as other:
                assert other.get("/healthz").status_code == 200
            enough.set()
            found = measured(chain([first], output))
            assert found == measured(expected(codec, sent[0]))


def headers_of(codec: str) -> tuple[str, str]:
    return "POST", f"/convert/{codec}"


@each_codec
class TestHttp2:
    def test_both_ways_at_once(self, server: ServerProcess, codec: str) -> None:
        data = INPUTS[codec]
        with http2(server) as client:
            stream = client.request(*headers_of(codec), end=False)
            answer = client.answers[stream]
            client.send(stream, data[:300_000])
            assert client.until(lambda: answer.body)
            client.send(stream, data[300_000:], end=True)
            assert client.answer(stream).ended == "end"
            assert same(codec, bytes(answer.body))

    def test_answer_that_breaks_off_is_reset(self, server: ServerProcess, codec: str) -> None:
        with http2(server) as client:
            stream = client.request(*headers_of(codec), end=False)
            client.send(stream, INPUTS[codec][:300_000])
            assert client.until(lambda: client.answers[stream].body)
            assert isinstance(client.answer(stream).ended, int)  # the sender has stalled
            assert client.answers[stream].status == 200
            assert client.get("/healthz").status == 200
