"""What caches are told of files, by setting, expiry and clock, and of broken requests."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest

from quart_app.settings import BadSettings, load_settings
from tests.e2e.clients import session, upload, wire

if TYPE_CHECKING:
    import httpx

    from tests.conftest import Servers
    from tests.server_process import ServerProcess

HOUR = 3600


class TestSetting:
    def test_is_the_age_of_a_file(self, shared_server: Servers) -> None:
        with session(shared_server(cache_max_age=HOUR)) as client:
            url = upload(client, b"0123456789")["url"]
            for fields in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}):
                for method in ("GET", "HEAD"):
                    found = client.request(method, url, headers=fields).headers["Cache-Control"]
                    assert found == "public, max-age=3600, must-revalidate"

    def test_is_of_files_alone(self, shared_server: Servers) -> None:
        with session(shared_server(cache_max_age=HOUR)) as client:
            file = upload(client, b"x")
            for path in ("/files", f"/files/{file['id']}/info", "/files/nothing", "/healthz"):
                assert client.get(path).headers["Cache-Control"] == "no-store"

    def test_never_passes_the_expiry(self, shared_server: Servers) -> None:
        with session(shared_server(cache_max_age=HOUR)) as client:
            url = upload(client, b"x", Expires_In="100")["url"]
            for fields in ({}, {"If-None-Match": "*"}):
                found = client.get(url, headers=fields).headers["Cache-Control"]
                seconds = re.fullmatch(r"public, max-age=(\d+), must-revalidate", found)
                assert seconds is not None
                assert 0 < int(seconds[1]) < 100

    @pytest.mark.parametrize("given", [-1, 0.5, 365 * 86_400 + 1, "soon"])
    def test_that_cannot_be(self, given: object) -> None:
        with pytest.raises(BadSettings, match="cache_max_age"):
            load_settings({"cache_max_age": given})


@pytest.mark.parametrize(
    "request_",
    [
        b"no request\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
    ],
)
def test_no_answer_to_a_broken_request_is_kept(server: ServerProcess, request_: bytes) -> None:
    with wire(server) as client:
        client.send(request_)
        response = client.response("GET")
        assert 400 <= response.status < 500
        assert response.headers.get_all("Cache-Control") == ["no-store"]


def created_later(server: ServerProcess, file_id: str, seconds: int) -> None:
    """Moves the creation of a file into the future, as a clock that is set back does."""
    with closing(sqlite3.connect(server.data / "catalog.db")) as connection, connection:
        change = "UPDATE files SET created_at = created_at + ? WHERE id = ?"
        connection.execute(change, [seconds * 1_000_000, file_id])


class TestClockSetBack:
    @pytest.fixture
    def url(self, client: httpx.Client, server: ServerProcess) -> str:
        file = upload(client, b"0123456789")
        created_later(server, file["id"], HOUR)
        return str(file["url"])

    def test_last_modified_is_never_in_the_future(self, client: httpx.Client, url: str) -> None:
        for fields in ({}, {"Range": "bytes=0-1"}, {"If-None-Match": "*"}):
            headers = client.get(url, headers=fields).headers
            modified = parsedate_to_datetime(headers["Last-Modified"])
            assert modified <= parsedate_to_datetime(headers["Date"])

    def test_conditions_use_the_same_moment(self, client: httpx.Client, url: str) -> None:
        """A date that was valid a moment ago is no reason to resend or refuse the file."""
        later = "Fri, 01 Jan 2100 00:00:00 GMT"
        for fields, status in [
            ({"If-Modified-Since": later}, 304),
            ({"If-Unmodified-Since": later}, 200),
            ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
            ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
        ]:
            assert client.get(url, headers=fields).status_code == status
        # The second may change between two requests.
        for condition, status in (("If-Modified-Since", 304), ("If-Unmodified-Since", 200)):
            found = {self.status_at_once(client, url, condition) for _ in range(3)}
            assert status in found

    def status_at_once(self, client: httpx.Client, url: str, condition: str) -> int:
        shown = client.head(url).headers["Last-Modified"]
        return client.get(url, headers={condition: shown}).status_code
