"""DNS rebinding, and pages of other sites, against a real server with its own defaults."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from quart import Quart

from quart_app.web import downloads, health
from tests.deploy.programs import service
from tests.e2e.clients import MIB, content, session, upload, wire
from tests.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Servers

SMALL = content(1000)

FRIEND = "https://friend.example"
FOREIGN = "https://evil.example"


@pytest.fixture
def guarded(shared_server: Servers) -> ServerProcess:
    """A server with the default hosts, and one friendly origin."""
    return shared_server(allowed_hosts=None, cors_origins=json.dumps([FRIEND]))


@pytest.fixture
def client(guarded: ServerProcess) -> Iterator[httpx.Client]:
    with session(guarded) as client:
        yield client


CHANGES = [
    ("POST", "/upload"),
    ("PUT", "/upload/a"),
    ("DELETE", "/files/nothing"),
    ("POST", "/fetch"),
    ("POST", "/proxy"),
    ("POST", "/read_data"),
    ("POST", "/convert"),
    ("PATCH", "/nowhere"),
    ("POST", "/healthz"),
    ("QUERY", "/files"),
]

OF_OTHER_SITES: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Origin": FOREIGN},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    {"Origin": FOREIGN, "Authorization": "Basic YTpi"},
    {"Origin": FOREIGN, "Authorization": "Bearer"},
    {"Origin": f"{FRIEND}.evil.example"},
    {"Origin": "http://friend.example"},
]


class Told(NamedTuple):
    status: int
    code: str


def told(response: httpx.Response) -> Told:
    kind = response.headers.get("Content-Type", "")
    code = response.json()["code"] if kind == "application/problem+json" else ""
    return Told(response.status_code, code)


def granted(response: httpx.Response) -> list[str]:
    """What an answer says to browsers about pages of other origins."""
    return [name for name in response.headers if name.startswith("access-control-")]


UNKNOWN = Told(421, "unknown_host")
CROSS = Told(403, "cross_site")


class TestHosts:
    def test_rebound_name(self, client: httpx.Client) -> None:
        """Whatever is asked for, before its route is looked up."""
        for host in ("evil.example", "localhost.evil.example:80", "0.0.0.0"):
            for path in ("/files", "/nowhere", "//", "/upload", "/http://10.0.0.1/"):
                assert told(client.get(path, headers={"Host": host})) == UNKNOWN

    def test_loopback_name(self, client: httpx.Client) -> None:
        for host in ("localhost", "app.localhost:1234", "127.8.0.1", "[::1]:80"):
            assert client.get("/files", headers={"Host": host}).status_code == 200

    def test_without_a_host(self, guarded: ServerProcess) -> None:
        with wire(guarded) as old:
            old.send(b"GET /files HTTP/1.0\r\n\r\n")
            assert old.response("GET").status == 200

    def test_before_the_body(self, guarded: ServerProcess) -> None:
        """A client that waits with its body is refused without it."""
        with wire(guarded) as patient:
            patient.send(
                b"POST /upload HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 99999999999\r\n"
                b"Expect: 100-continue\r\n\r\n"
            )
            assert patient.problem() == UNKNOWN
        with wire(guarded) as eager:
            head = f"POST /upload HTTP/1.1\r\nHost: evil.example\r\nContent-Length: {3 * MIB}\r\n"
            eager.send(head.encode() + b"\r\n" + content(MIB))
            assert eager.problem() == UNKNOWN
        assert guarded.blobs().keys() == guarded.rows().keys()

    def test_health_is_asked_by_address(self, client: httpx.Client) -> None:
        for path, host in product(("/healthz", "/readyz"), ("10.1.2.3:8000", "evil.example")):
            assert client.get(path, headers={"Host": host}).status_code == 200
            assert client.head(path, headers={"Host": host}).status_code == 200
            assert told(client.post(path, headers={"Host": host})) == UNKNOWN

    def test_chosen(self, shared_server: Servers) -> None:
        server = shared_server(allowed_hosts='["files.example", ".example.org:8443"]')
        with session(server) as client:
            for host in ("files.example", "FILES.example.:80", "a.example.org:8443"):
                assert client.get("/files", headers={"Host": host}).status_code == 200
            for host in ("localhost", "a.files.example", "example.org", f"127.0.0.1:{server.port}"):
                assert told(client.get("/files", headers={"Host": host})) == UNKNOWN

    def test_bound_to_all(self, tmp_path: Path) -> None:
        """The operator has made it public: any name may lead there."""
        with service(tmp_path, "--host=0.0.0.0", "--port=0") as running:
            response = httpx.get(f"{running.address}/files", headers={"Host": "files.example"})
            assert response.status_code == 200

    def test_unix_socket(self, tmp_path: Path) -> None:
        """Clients write any name; something in front of the service passes on its own."""
        path = tmp_path / "s"
        with service(tmp_path, f"--unix-socket={path}"):
            transport = httpx.HTTPTransport(uds=str(path))
            with httpx.Client(transport=transport, base_url="http://localhost") as client:
                assert client.get("/files").status_code == 200
                assert told(client.get("/files", headers={"Host": "evil.example"})) == UNKNOWN


class TestPages:
    """Requests that browsers send on behalf of pages."""

    def test_of_other_sites(self, client: httpx.Client) -> None:
        """Whatever is asked for, before its route is looked up."""
        for method, path in CHANGES:
            for headers in OF_OTHER_SITES:
                response = client.request(method, path, headers=headers)
                assert told(response) == CROSS, (method, path, headers)

    def test_form_of_another_site(self, guarded: ServerProcess, client: httpx.Client) -> None:
        """A form needs no preflight; nothing of it is stored, nor read before the refusal."""
        before = guarded.rows()
        files = {"file": ("a.txt", SMALL)}
        response = client.post("/upload", files=files, headers={"Origin": FOREIGN})
        assert told(response) == CROSS
        with wire(guarded) as patient:
            origin = f"Origin: {FOREIGN}"
            patient.send(
                f"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n{origin}\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            assert patient.problem() == CROSS
        assert guarded.rows() == before

    def test_own(self, guarded: ServerProcess, client: httpx.Client) -> None:
        own = f"http://127.0.0.1:{guarded.port}"
        for headers in (
            {},
            {"Origin": own, "Sec-Fetch-Site": "same-origin"},
            {"Origin": own},
            {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
            {"Sec-Fetch-Site": "none"},
            {"Origin": FOREIGN, "Authorization": "Bearer abc"},
            {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site"},
        ):
            response = client.post("/upload", content=SMALL, headers=headers)
            assert response.status_code == 201, headers
            found = client.delete(response.json()["files"][0]["url"], headers=headers)
            assert found.status_code in {204, 405}, headers

    def test_reading_is_free(self, client: httpx.Client) -> None:
        """A link from another site leads to a file; its page cannot read it."""
        url = upload(client, SMALL)["url"]
        headers = {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}
        for method in ("GET", "HEAD", "OPTIONS"):
            response = client.request(method, url, headers=headers)
            assert response.status_code == 200
            assert granted(response) == []
            assert "Origin" in response.headers["Vary"]


class TestCors:
    def test_preflight(self, client: httpx.Client) -> None:
        asked = {
            "Origin": FRIEND,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type, upload-offset, authorization",
            "Sec-Fetch-Site": "cross-site",
        }
        response = client.options("/upload/a", headers=asked)
        assert response.status_code == 200
        methods = re.split(r",\s*", response.headers["Access-Control-Allow-Methods"])
        assert {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} <= set(methods)
        names = re.split(r",\s*", response.headers["Access-Control-Allow-Headers"].lower())
        assert set(names) == {"content-type", "upload-offset", "authorization"}
        assert response.headers["Access-Control-Allow-Origin"] == FRIEND
        assert int(response.headers["Access-Control-Max-Age"]) > 0
        assert "Access-Control-Allow-Credentials" not in response.headers
        assert "Origin" in response.headers["Vary"]

    def test_preflight_of_others(self, client: httpx.Client) -> None:
        for origin in (FOREIGN, "null", f"{FRIEND}:8443", FRIEND.upper()):
            asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
            response = client.options("/upload/a", headers=asked)
            assert granted(response) == []
            assert "Origin" in response.headers["Vary"]

    def test_answers(self, client: httpx.Client) -> None:
        """Errors too, which a page could not tell apart otherwise."""
        file = upload(client, SMALL, Origin=FRIEND)
        for path, status in ((file["url"], 200), ("/nowhere", 404), ("/files?limit=x", 400)):
            response = client.get(path, headers={"Origin": FRIEND})
            assert response.status_code == status
            assert response.headers["Access-Control-Allow-Origin"] == FRIEND
            exposed = response.headers["Access-Control-Expose-Headers"].lower()
            for name in ("location", "etag", "content-range", "repr-digest", "x-request-id",
                         "upload-offset", "tus-resumable"):  # fmt: skip
                assert name in exposed
            assert "Origin" in response.headers["Vary"]

    def test_any_origin(self, shared_server: Servers) -> None:
        with session(shared_server(cors_origins='["*"]')) as client:
            headers = {"Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}
            response = client.post("/upload", content=SMALL, headers=headers)
            assert response.status_code == 201
            assert response.headers["Access-Control-Allow-Origin"] == "*"

    def test_off_by_default(self, shared_server: Servers) -> None:
        with session(shared_server(allowed_hosts=None)) as client:
            response = client.get("/files", headers={"Origin": FRIEND})
            assert granted(response) == []
            assert told(client.post("/upload", headers={"Origin": FRIEND})) == CROSS


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("allowed-hosts", '["http://a"]', "'http://a' is not host or host:port"),
        ("allowed-hosts", "[]", "at least 1 item"),
        ("cors-origins", '["https://a/"]', "'https://a/' is no origin"),
        ("cors-origins", '["null"]', "'null' is no origin"),
    ],
)
def test_bad_settings(tmp_path: Path, name: str, value: str, told: str) -> None:
    server = ServerProcess(tmp_path, {name: value})
    assert server.process.wait(30) == 2
    assert told in server.err.read_text()


@pytest.mark.asyncio(loop_scope="function")
async def test_embedded() -> None:
    """Blueprints in an application of somebody else's are under its own rules."""
    app = Quart(__name__)
    for blueprint in (health, downloads):
        app.register_blueprint(blueprint)
    app.add_url_rule("/own", view_func=lambda: "own", methods=["POST"])
    headers = {"Host": "other.example", "Origin": FOREIGN, "Sec-Fetch-Site": "cross-site"}
    response = await app.test_client().post("/own", headers=headers)
    assert response.status_code == 200
    assert "Vary" not in response.headers
