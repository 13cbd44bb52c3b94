"""Bodies processed and converted while they arrive."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from http.client import IncompleteRead
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.contract.api.servers import LIMIT, newest
from tests.e2e.clients import MIB, content, form, form_type, sha256, wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.server_process import ServerProcess

BYTES = content(3 * MIB + 5)


@pytest.fixture(autouse=True)
def _nothing_is_stored(server: ServerProcess) -> Iterator[None]:
    before = newest(server)
    yield
    assert newest(server) == before


class TestParts:
    def test_a_line_each(self, client: httpx.Client) -> None:
        body = form(
            ('name="f"; filename="a.txt"\r\nContent-Type: text/x-own', b"1"),
            ('name="k"', "für".encode()),
            ('name="f"; filename="../b.png"', BYTES),
            ('name="g"; filename="empty"', b""),
        )
        response = client.post("/convert", content=body, headers={"Content-Type": form_type})
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in response.text.splitlines()]
        assert all(
            line.keys() == {"name", "filename", "size", "sha256", "media_type"} for line in lines
        )
        assert [(line["name"], line["size"], line["sha256"]) for line in lines] == [
            ("f", 1, sha256(b"1")),
            ("k", 4, sha256("für".encode())),
            ("f", len(BYTES), sha256(BYTES)),
            ("g", 0, sha256(b"")),
        ]
        assert [line["filename"] for line in lines] == ["a.txt", None, "b.png", "empty"]
        assert [lines[n]["media_type"] for n in (0, 2, 3)] == [
            "text/x-own",
            "image/png",
            "application/octet-stream",
        ]

    def test_many(self, client: httpx.Client) -> None:
        body = form(*((f'name="f"; filename="{n}"', b"%d" % n) for n in range(500)))
        response = client.post("/convert", content=body, headers={"Content-Type": form_type})
        found = [json.loads(line)["filename"] for line in response.text.splitlines()]
        assert found == [str(n) for n in range(500)]

    def test_line_comes_while_the_next_part_does(
        self, server: ServerProcess, patience: float
    ) -> None:
        self.answered_early(server, patience, in_flight=2 * MIB)

    def test_line_comes_as_its_part_ends(self, server: ServerProcess, patience: float) -> None:
        self.answered_early(server, patience, in_flight=0)

    def answered_early(self, server: ServerProcess, patience: float, *, in_flight: int) -> None:
        body = form(('name="a"; filename="a"', b"1"), ('name="b"; filename="b"', bytes(3 * MIB)))
        sent = body.index(b'filename="b"') + 20 + in_flight
        with wire(server) as client:
            client.socket.settimeout(patience)
            length = f"Content-Length: {len(body)}"
            client.request("POST /convert", f"Content-Type: {form_type}", length, body=body[:sent])
            response = client.response()
            assert json.loads(response.readline())["name"] == "a"
            client.send(body[sent:])
            assert json.loads(response.read())["size"] == 3 * MIB

    @pytest.mark.parametrize(
        ("kind", "body"),
        [
            (form_type, b"no form"),
            (form_type, form(('name="a"; filename="a"', b"x"))[:-30]),
            ("text/plain", b"x"),
        ],
        ids=["junk", "cut", "no form"],
    )
    def test_bad_form(self, client: httpx.Client, kind: str, body: bytes) -> None:
        response = client.post("/convert", content=body, headers={"Content-Type": kind})
        assert response.status_code in {400, 415}
        assert response.json()["code"]

    def test_cut_later(self, client: httpx.Client) -> None:
        """What was answered cannot be unsaid: the answer is cut too."""
        files = [(f'name="f"; filename="{n}"', content(MIB, n)) for n in range(4)]
        with (
            pytest.raises(httpx.TransportError),
            client.stream(
                "POST",
                "/convert",
                content=form(*files, end=b""),
                headers={"Content-Type": form_type},
            ) as response,
        ):
            assert response.status_code == 200
            response.read()


ROWS = [
    {"name": "a", "text": 'quoted "x", and\r\nbroken', "n": "1"},
    {"name": "ü🦆", "text": "", "n": "-2.5"},
]


def as_csv(rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def as_ndjson(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def many(count: int) -> list[dict[str, str]]:
    words = random.Random(1)
    return [{"n": str(n), "word": words.randbytes(20).hex()} for n in range(count)]


class TestCodecs:
    def convert(self, client: httpx.Client, codec: str, body: bytes) -> httpx.Response:
        return client.post(f"/convert/{codec}", content=body)

    @pytest.mark.parametrize("data", [b"", b"x", BYTES, bytes(5 * MIB)], ids=["0", "1", "3M", "0s"])
    def test_gzip(self, client: httpx.Client, data: bytes) -> None:
        response = self.convert(client, "gzip", data)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "application/gzip"
        assert gzip.decompress(response.content) == data
        assert "Content-Encoding" not in response.headers

    @pytest.mark.parametrize(
        "packed",
        [
            gzip.compress(BYTES, mtime=0),
            gzip.compress(BYTES[:MIB], mtime=0) + gzip.compress(BYTES[MIB:], mtime=0),
        ],
        ids=["one", "two members"],
    )
    def test_gunzip(self, client: httpx.Client, packed: bytes) -> None:
        response = self.convert(client, "gunzip", packed)
        assert (response.status_code, response.content == BYTES) == (200, True)

    @pytest.mark.parametrize("rows", [ROWS, many(1), many(10_000)], ids=["odd", "1", "10000"])
    def test_csv_to_ndjson(self, client: httpx.Client, rows: list[dict[str, str]]) -> None:
        response = self.convert(client, "csv-to-ndjson", as_csv(rows))
        assert response.headers["Content-Type"].startswith("application/x-ndjson")
        assert [json.loads(line) for line in response.content.split(b"\n")[:-1]] == rows

    @pytest.mark.parametrize("rows", [ROWS, many(1), many(10_000)], ids=["odd", "1", "10000"])
    def test_ndjson_to_csv(self, client: httpx.Client, rows: list[dict[str, str]]) -> None:
        response = self.convert(client, "ndjson-to-csv", as_ndjson(rows))
        assert response.headers["Content-Type"].startswith("text/csv")
        text = io.StringIO(response.content.decode(), newline="")
        assert list(csv.DictReader(text)) == rows

    def test_streams_back_while_the_body_arrives(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /convert/gzip", "Transfer-Encoding: chunked")
            client.chunk(BYTES)
            response = client.response()
            first = response.read(1000)
            assert first[:2] == b"\x1f\x8b"
            client.chunk(BYTES)
            client.chunk(b"")
            assert gzip.decompress(first + response.read()) == 2 * BYTES

    def test_a_row_at_a_time(self, server: ServerProcess, patience: float) -> None:
        """A dialogue: the answer to one row is read before the next is sent."""
        with wire(server) as client:
            client.socket.settimeout(patience)
            client.request("POST /convert/csv-to-ndjson", "Transfer-Encoding: chunked")
            client.chunk(b"a,b\r\n1,2\r\n")
            response = client.response()
            assert json.loads(response.readline()) == {"a": "1", "b": "2"}
            client.chunk(b"3,4\r\n")
            assert json.loads(response.readline()) == {"a": "3", "b": "4"}
            client.chunk(b"")
            assert response.read() == b""

    @pytest.mark.parametrize(
        ("codec", "body"),
        [
            ("gunzip", b"no gzip"),
            ("gunzip", gzip.compress(b"x" * 1000, mtime=0)[:-4]),
            ("csv-to-ndjson", b"a,b\r\n1,2,3\r\n"),
            ("csv-to-ndjson", b'a,b\r\n1,"2\r\n'),
            ("ndjson-to-csv", b"{\n"),
            ("ndjson-to-csv", b"[1]\n"),
        ],
    )
    def test_malformed(self, client: httpx.Client, codec: str, body: bytes) -> None:
        try:
            response = self.convert(client, codec, body)
        except httpx.TransportError:
            return  # the answer had begun, and was cut
        assert response.status_code == 400
        assert response.json()["code"].startswith("bad_")

    @pytest.mark.parametrize("codec", ["csv-to-ndjson", "ndjson-to-csv"])
    def test_not_text(self, client: httpx.Client, codec: str) -> None:
        response = self.convert(client, codec, b"\xff\n")
        assert (response.status_code, response.json()["code"]) == (415, "not_text")

    def test_bomb(self, client: httpx.Client) -> None:
        """Its output is bounded: 512 MiB of zeros are not sent for the half MiB they came in."""
        member = gzip.compress(bytes(32 * MIB))
        received = 0
        with (
            pytest.raises(httpx.TransportError),
            client.stream("POST", "/convert/gunzip", content=16 * member) as response,
        ):
            if response.status_code == 413:
                raise httpx.TransportError("told at once, which is as good")
            for piece in response.iter_raw():
                received += len(piece)
        assert received < 256 * MIB

    def test_unknown(self, client: httpx.Client) -> None:
        assert self.convert(client, "rot13", b"x").status_code == 404

    def test_too_large(self, server: ServerProcess) -> None:
        with wire(server) as client:
            client.request("POST /convert/gzip", f"Content-Length: {LIMIT + 1}")
            assert client.problem() == (413, "too_large")

    def test_broken_off(self, server: ServerProcess) -> None:
        """The answer is cut like the body, so that nobody takes it for whole."""
        with wire(server) as client:
            client.request("POST /convert/gzip", f"Content-Length: {2 * len(BYTES)}", body=BYTES)
            client.end()
            response = client.response()
            if response.status == 200:
                with pytest.raises(IncompleteRead):
                    response.read()
            else:
                assert json.loads(response.read())["code"] == "body_too_short"
