"""The documented nginx in front: bodies pass as they come, downloads are its own."""

from __future__ import annotations

import json
import os
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest

from quart_app.settings import Settings
from tests.deploy.nginx import SITE
from tests.deploy.programs import service
from tests.e2e.clients import MIB, content, form, form_type, sha256, upload
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.deploy.conftest import Behind, Front
    from tests.server_process import ServerProcess

    Start = Callable[..., ServerProcess]

LARGE = content(64 * MIB)
HALF = len(LARGE) // 2
MIDDLE = LARGE[: 24 * MIB]
SMALL = content(3 * MIB + 1, seed=1)
OVER = 81 * MIB

#: A small window, so that most of a download is still to be sent.
WINDOW = 65536

UNICODE = "Grüße — 文件 🦆 'a' %41.txt"

#: What a client sees of a file, whoever sends it.
FIELDS = (
    "accept-ranges",
    "cache-control",
    "content-disposition",
    "content-length",
    "content-type",
    "etag",
    "last-modified",
    "repr-digest",
    "x-content-type-options",
)


def arrived(server: ServerProcess) -> int:
    """Bytes of unfinished uploads that the service has written."""
    return sum(path.stat().st_size for name, path in server.blobs().items() if "part" in name)


def sent_by(server: ServerProcess, path: str, *, times: int = 1) -> list[int]:
    """Bytes of content that the service itself sent in answer to so many downloads."""

    def found() -> list[int]:
        requests = [line for line in server.logs() if line["event"] == "request"]
        return [
            line["sent"] for line in requests if (line["method"], line["path"]) == ("GET", path)
        ]

    eventually(lambda: len(found()) >= times, what="the service logs its requests")
    return found()


def store(front: Front, data: bytes = SMALL, **headers: str) -> dict[str, Any]:
    with front.nginx.session() as client:
        return upload(client, data, **headers)


class TestUploads:
    @pytest.mark.parametrize("framing", ["length", "chunks"])
    def test_pass_as_they_come(self, front: Front, framing: str) -> None:
        header = f"Content-Length: {len(LARGE)}"
        if framing == "chunks":
            header = "Transfer-Encoding: chunked"
        with front.nginx.wire() as client:
            send = client.send if framing == "length" else client.chunk
            client.request("POST /upload", header)
            send(LARGE[:HALF])
            eventually(lambda: arrived(front.server) > HALF / 2, what="the service has the half")
            assert front.nginx.buffered() == []
            send(LARGE[HALF:])
            if framing == "chunks":
                client.chunk(b"")
            response = client.response()
            [file] = json.loads(response.read())["files"]
        assert (response.status, file["sha256"]) == (201, sha256(LARGE))
        assert front.server.blobs()[file["id"]].read_bytes() == LARGE

    def test_form(self, front: Front) -> None:
        body = form((f'name="a"; filename="{UNICODE}"', SMALL), ('name="b"', b"c"))
        with front.nginx.session() as client:
            told = client.post("/upload", content=body, headers={"Content-Type": form_type}).json()
        assert told["fields"] == {"b": ["c"]}
        assert (told["files"][0]["name"], told["files"][0]["sha256"]) == (UNICODE, sha256(SMALL))

    def test_larger_than_the_limit(self, front: Front) -> None:
        """The answer arrives while the body is still being sent, and after."""
        for sent in (0, MIB, 20 * MIB, 64 * MIB):
            with front.nginx.wire() as client:
                client.request("POST /upload", f"Content-Length: {OVER}", body=LARGE[:sent])
                assert client.problem() == (413, "too_large")
        assert front.server.parts() == []

    def test_passes_the_limit_undeclared(self, front: Front) -> None:
        with front.nginx.wire() as client:
            client.request("POST /upload", "Transfer-Encoding: chunked")
            client.chunk(LARGE)
            client.chunk(LARGE[: OVER - len(LARGE)])
            assert client.problem() == (413, "too_large")
        eventually(lambda: front.server.parts() == [], what="nothing stays")


class TestDownloads:
    def test_whole_file_is_sent_by_nginx(self, front: Front) -> None:
        file = store(front, LARGE)
        with front.nginx.session() as client:
            response = client.get(file["url"])
            assert (response.status_code, response.content) == (200, LARGE)
        assert sent_by(front.server, file["url"]) == [0]
        [logged] = eventually(lambda: front.nginx.requests(file["url"]), what="nginx logs it")
        assert logged["sent"] == len(LARGE)
        assert int(logged["upstream"]) < 2000  # a head without a body

    def test_fields_are_those_of_the_service(self, front: Front) -> None:
        file = store(front, content_type="text/html; charset=utf-8")
        os.utime(front.server.blobs()[file["id"]], (0, 0))  # as a restored one may have
        with front.nginx.session() as client, httpx.Client() as direct:
            answers = [
                direct.head(front.server.base_url + file["url"]),
                client.head(file["url"]),
                client.get(file["url"]),
            ]
        told = [{name: answer.headers.get_list(name) for name in FIELDS} for answer in answers]
        assert told[0] == told[1] == told[2]
        assert [len(values) for values in told[0].values()] == [1] * len(FIELDS)
        assert [answer.headers.get("x-accel-redirect") for answer in answers] == [None] * 3

    @pytest.mark.parametrize(
        ("wanted", "first", "stop"),
        [
            ("bytes=0-0", 0, 1),
            ("bytes=1000000-2000000", 1_000_000, 2_000_001),
            ("bytes=-500", len(SMALL) - 500, len(SMALL)),
            (f"bytes=-{len(SMALL) + 1}", 0, len(SMALL)),
            ("bytes=2000000-", 2_000_000, len(SMALL)),
            (f"bytes=5-{10**17}", 5, len(SMALL)),
        ],
    )
    def test_range_is_sent_by_nginx(self, front: Front, wanted: str, first: int, stop: int) -> None:
        file = store(front)
        with front.nginx.session() as client:
            for condition in ({}, {"If-Range": f'"{file["sha256"]}"'}):
                response = client.get(file["url"], headers={"Range": wanted, **condition})
                assert (response.status_code, response.content) == (206, SMALL[first:stop])
                told = f"bytes {first}-{stop - 1}/{len(SMALL)}"
                assert response.headers["content-range"] == told
                assert response.headers.get_list("etag") == [f'"{file["sha256"]}"']
        assert sent_by(front.server, file["url"], times=2) == [0, 0]

    @pytest.mark.parametrize("by_date", [False, True])
    def test_if_range(self, front: Front, by_date: bool) -> None:
        file = store(front)
        with front.nginx.session() as client:
            fields = client.head(file["url"]).headers
            now = fields["last-modified"] if by_date else fields["etag"]
            other = "Sat, 29 Oct 1994 19:43:31 GMT" if by_date else '"other"'
            for validator, status in ((now, 206), (other, 200)):
                headers = {"Range": "bytes=0-4", "If-Range": validator}
                response = client.get(file["url"], headers=headers)
                assert response.status_code == status
                assert response.content == (SMALL[:5] if status == 206 else SMALL)

    def test_several_ranges(self, front: Front) -> None:
        file = store(front)
        with front.nginx.session() as client:
            response = client.get(file["url"], headers={"Range": "bytes=0-9,5-19,100-109"})
        assert response.status_code == 206
        assert SMALL[:20] in response.content  # joined, as without nginx
        assert SMALL[100:110] in response.content

    def test_empty_file(self, front: Front) -> None:
        file = store(front, b"")
        with front.nginx.session() as client:
            response = client.get(file["url"])
            assert (response.status_code, response.content) == (200, b"")
            headers = {"Range": "bytes=0-"}
            assert client.get(file["url"], headers=headers).status_code == 200

    @pytest.mark.parametrize(
        ("condition", "status"),
        [
            ('If-None-Match: "{sha256}"', 304),
            ("If-None-Match: *", 304),
            ('If-None-Match: "other"', 200),
            ('If-Match: "{sha256}"', 200),
            ("If-Match: *", 200),
            ('If-Match: "other"', 412),
            ("If-Modified-Since: {modified}", 304),
            ("If-Modified-Since: Sat, 29 Oct 1994 19:43:31 GMT", 200),
            ("If-Modified-Since: never", 200),
            ("If-Unmodified-Since: {modified}", 200),
            ("If-Unmodified-Since: Sat, 29 Oct 1994 19:43:31 GMT", 412),
            ("If-Unmodified-Since: never", 200),
            (f"Range: bytes={len(SMALL)}-", 416),
            ("Range: bytes=5-3", 200),
            ("Range: lines=1-2", 200),
        ],
    )
    def test_conditions_are_the_service_s(self, front: Front, condition: str, status: int) -> None:
        file = store(front)
        with front.nginx.session() as client:
            modified = client.head(file["url"]).headers["last-modified"]
            name, _, value = condition.format(**file, modified=modified).partition(": ")
            response = client.get(file["url"], headers={name: value})
        assert response.status_code == status
        if status == 200:
            assert response.content == SMALL
        elif status >= 400:
            assert response.headers["content-type"] == "application/problem+json"

    def test_unicode_name(self, front: Front) -> None:
        with front.nginx.session() as client:
            [file] = client.put(f"/upload/{quote(UNICODE)}", content=SMALL).json()["files"]
            assert file["name"] == UNICODE
            response = client.get(file["url"])
        assert response.content == SMALL
        told = response.headers["content-disposition"]
        assert f"filename*=UTF-8''{quote(UNICODE, safe='')}" in told.replace("'a'", "%27a%27")
        assert sent_by(front.server, f"/files/{file['id']}/{quote(UNICODE)}") == [0]

    def test_deleted_file(self, front: Front) -> None:
        file = store(front)
        with front.nginx.wire(WINDOW) as reader, front.nginx.session() as client:
            reader.request(f"GET {file['url']}")
            response = reader.response("GET")
            assert response.read(MIB) == SMALL[:MIB]
            assert client.delete(f"/files/{file['id']}").status_code == 204
            assert response.read() == SMALL[MIB:]  # undisturbed
            gone = client.get(file["url"])
        assert (gone.status_code, gone.json()["code"]) == (404, "not_found")

    def test_file_that_vanishes_on_the_way(self, front: Front) -> None:
        file = store(front)
        blob = front.server.blobs()[file["id"]]
        aside = blob.rename(blob.with_name("aside"))
        with front.nginx.session() as client:
            assert client.get(file["url"]).status_code == 404
            aside.rename(blob)
            assert client.get(file["url"]).content == SMALL
        front.nginx.expect("No such file or directory")

    def test_stored_files_are_reached_in_no_other_way(self, front: Front) -> None:
        file = store(front)
        blob = front.server.blobs()[file["id"]]
        path = f"{blob.parent.name}/{blob.name}"
        with front.nginx.session() as client:
            assert client.get(f"/protected/{path}").status_code == 404
            with front.nginx.wire() as odd:
                odd.request(f"GET /files/../protected/{path}")
                assert odd.response("GET").status == 404


def listening(server: ServerProcess) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((server.host, server.port)) == 0


def test_sigterm_lets_transfers_end(start: Start, behind: Behind) -> None:
    server = start(settings={"accel_redirect": "/protected/", "drain": 30})
    nginx = behind(f"{server.host}:{server.port}", server.data)
    with nginx.session() as client:
        path = upload(client, MIDDLE)["url"]
    with nginx.wire(WINDOW) as ours, nginx.wire(WINDOW) as its, nginx.wire() as up:
        ours.request(f"GET {path}", "If-Match: *")
        its.request(f"GET {path}")
        downloads = [ours.response("GET"), its.response("GET")]
        assert [response.read(MIB) for response in downloads] == [MIDDLE[:MIB]] * 2
        up.request("POST /upload", f"Content-Length: {len(MIDDLE)}", body=MIDDLE[:MIB])
        eventually(server.parts, what="the upload begins")
        server.process.terminate()
        eventually(lambda: not listening(server), what="no new connections")
        up.send(MIDDLE[MIB:])
        assert up.response().status == 201
        assert [response.read() == MIDDLE[MIB:] for response in downloads] == [True, True]
    server.assert_ends_well(seconds=10)
    assert len(server.rows()) == len(server.blobs()) == 2
    assert sorted(sent_by(server, path, times=2)) == [0, len(MIDDLE)]
    with nginx.session() as client:
        assert client.get("/healthz").status_code == 502
    nginx.expect("Connection refused")


def test_unix_socket(tmp_path: Path, behind: Behind) -> None:
    place = tmp_path / "http.sock"
    flags = (f"--unix-socket={place}", "--accel-redirect=/protected/", "--max-upload-size=80MiB")
    own = ("--stall-timeout=1", '--allowed-hosts=["127.0.0.1", "test"]')
    with service(tmp_path / "service", *flags, *own):
        nginx = behind(f"unix:{place}", tmp_path / "service" / "data")
        with nginx.session() as client:
            file = upload(client, SMALL)
            assert client.get(file["url"]).content == SMALL
            conditional = client.get(file["url"], headers={"If-Match": "*"})
            assert conditional.content == SMALL
        for sent in (0, 64 * MIB):
            with nginx.wire() as refused:
                refused.request("POST /upload", f"Content-Length: {OVER}", body=LARGE[:sent])
                assert refused.problem() == (413, "too_large")
        with nginx.wire() as stalled:
            stalled.request("POST /upload", "Content-Length: 1000", body=b"begun")
            assert stalled.problem() == (408, "client_stalled")


def test_nginx_is_more_patient_than_the_service() -> None:
    """So that it is the service that tells a client what went wrong."""
    seconds = {name: int(number) for name, number in re.findall(r"(\w+) (\d+)s;", SITE.read_text())}
    stall_timeout = Settings.model_fields["stall_timeout"].default
    assert seconds["client_body_timeout"] > stall_timeout
    assert seconds["proxy_send_timeout"] > stall_timeout
    assert seconds["proxy_read_timeout"] > stall_timeout
    assert seconds["send_timeout"] >= stall_timeout


def test_names_of_a_site(tmp_path: Path, behind: Behind) -> None:
    """Behind nginx the names that are listed are answered for, and health under any."""
    place = tmp_path / "http.sock"
    flags = (f"--unix-socket={place}", '--allowed-hosts=["files.example"]')
    with service(tmp_path / "service", *flags):
        nginx = behind(f"unix:{place}", tmp_path / "service" / "data")
        own = {"Host": "files.example:8443", "Origin": "https://files.example:8443"}
        with nginx.session() as client:
            assert client.post("/upload", content=SMALL, headers=own).status_code == 201
            assert client.get("/files").json()["code"] == "unknown_host"
            assert client.get("/healthz").status_code == 200
            foreign = client.post("/upload", headers=own | {"Origin": "https://files.example"})
            assert foreign.json()["code"] == "cross_site"
