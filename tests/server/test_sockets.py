"""Where the service listens, and whom it tells: paths, systemd's sockets and notices, TLS."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from quart_app.errors import CannotStart
from quart_app.server.sockets import listen
from quart_app.settings import load_settings
from tests.e2e.clients import CLIENT_SECONDS, MIB, content, curl, upload
from tests.server.conftest import LOOPS
from tests.server.fleet import Fleet
from tests.server.http2_client import KIB, Http2Client
from tests.server_process import SERVE
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from quart_app.settings import Settings

BYTES = content(5 * MIB)

ACTIVATOR = (sys.executable, "-m", "tests.server.activator")


@contextmanager
def running(
    directory: Path,
    settings: Mapping[str, object],
    wrapper: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Fleet]:
    fleet = Fleet(directory, settings, command=SERVE, wrapper=wrapper, variables=variables)
    try:
        yield fleet.ready()
        if fleet.running:
            fleet.stop()
    finally:
        fleet.kill()


def at_path(path: Path) -> httpx.Client:
    transport = httpx.HTTPTransport(uds=str(path), verify=False)
    return httpx.Client(transport=transport, base_url="http://test", timeout=CLIENT_SECONDS)


def at(address: str) -> httpx.Client:
    return httpx.Client(base_url=address, timeout=CLIENT_SECONDS, verify=False)


def assert_stores_and_serves(client: httpx.Client) -> None:
    file = upload(client, BYTES)
    assert client.get(file["url"]).content == BYTES


class TestUnixSocket:
    @pytest.mark.parametrize("loop", LOOPS)
    def test_path(self, tmp_path: Path, loop: str) -> None:
        """A socket that a killed predecessor has left is in nobody's way."""
        path = tmp_path / "s"
        with closing(socket.socket(socket.AF_UNIX)) as left:
            left.bind(str(path))
        with running(tmp_path, {"unix_socket": path, "workers": 2, "loop": loop}) as fleet:
            assert fleet.address == f"unix:{path}"
            with at_path(path) as client:
                assert_stores_and_serves(client)
            assert b"ready" in curl("--unix-socket", path, "http://test/readyz")
        assert refused(path)

    def test_client_goes_while_nothing_is_read(self, tmp_path: Path) -> None:
        """What it has sent is for a destination that takes nothing."""
        path = tmp_path / "s"
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            targets = json.dumps({"a": f"http://127.0.0.1:{deaf.getsockname()[1]}/"})
            settings = {"unix_socket": path, "proxy_targets": targets, "stall_timeout": 600}
            with running(tmp_path, settings) as fleet:
                with closing(socket.socket(socket.AF_UNIX)) as client:
                    client.settimeout(1)
                    client.connect(str(path))
                    client.sendall(b"POST /proxy HTTP/1.1\r\nHost: a\r\n")
                    client.sendall(b"Content-Length: 99999999\r\n\r\n")
                    with suppress(TimeoutError):
                        client.sendall(bytes(50 * MIB))
                    assert fleet.leftovers()
                fleet.assert_settled()

    def test_file_in_the_way(self, tmp_path: Path) -> None:
        path = tmp_path / "precious"
        path.write_text("precious")
        fleet = Fleet(tmp_path, {"unix_socket": path}, command=SERVE)
        assert fleet.process.wait(30) == 1
        said = f"quart-app: cannot listen on {path}: Address already in use\n"
        assert (fleet.err.read_text(), path.read_text()) == (said, "precious")


class TestName:
    """A name may have several addresses."""

    @pytest.fixture
    def localhost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Resolves `localhost` as most machines do."""
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    @pytest.mark.usefixtures("localhost")
    @pytest.mark.parametrize("workers", [1, 3])
    def test_all_addresses_on_one_port(self, workers: int) -> None:
        listeners = listen(loaded(host="localhost", port=0, workers=workers))
        try:
            port = int(listeners.address.removeprefix("http://[::1]:"))
            for sockets in listeners.by_worker:
                assert [s.getsockname()[:2] for s in sockets] == [
                    ("::1", port),
                    ("127.0.0.1", port),
                ]
            assert len(listeners.by_worker) == workers
        finally:
            listeners.close()

    @pytest.mark.usefixtures("localhost")
    def test_port_that_one_address_lacks(self) -> None:
        """It is refused, and port 0 finds another."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(CannotStart, match=f"localhost port {port}: Address already in use"):
                listen(loaded(host="localhost", port=port))
        with ExitStack() as stack:
            chosen = iter([port, 0])

            def create(address: tuple[Any, ...], **options: Any) -> socket.socket:
                if address[0] == "::1" and address[1] == 0:
                    address = (address[0], next(chosen), *address[2:])
                return socket_create_server(address, **options)

            socket_create_server = socket.create_server
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(socket, "create_server", create)
            listeners = listen(loaded(host="localhost", port=0))
            listeners.close()
            assert list(chosen) == []

    def test_family_that_is_turned_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name has an address of it all the same; an address alone is an error."""
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        listeners = listen(loaded(host="localhost", port=0))
        listeners.close()
        assert listeners.address.startswith("http://127.0.0.1:")
        del found[1]
        with pytest.raises(CannotStart, match="Cannot assign requested address"):
            listen(loaded(host="localhost", port=0))

    def test_is_served(self, tmp_path: Path) -> None:
        """No name at all stands for every address of both families."""
        with running(tmp_path, {"host": "", "workers": 2}) as fleet:
            port = int(fleet.address.removeprefix("http://0.0.0.0:"))
            for address in (f"http://127.0.0.1:{port}", f"http://[::1]:{port}"):
                for _ in range(4):
                    with at(address) as client:
                        assert client.get("/healthz").status_code == 200


def loaded(**settings: object) -> Settings:
    return load_settings(settings).settings


class TestActivation:
    """sd_listen_fds(3)."""

    def opened(self, fleet: Fleet) -> list[str]:
        return fleet.out.read_text().splitlines()[0].split("\t")

    @pytest.mark.parametrize("loop", LOOPS)
    def test_sockets_of_systemd(self, tmp_path: Path, loop: str) -> None:
        """All of them are served, and all closed at once when it stops."""
        path = tmp_path / "s"
        wrapper = (*ACTIVATOR, "0", str(path), "--")
        with running(tmp_path, {"workers": 2, "loop": loop, "port": 1}, wrapper) as fleet:
            port = int(self.opened(fleet)[0].split(",")[1].strip(" )"))
            assert fleet.address == f"http://127.0.0.1:{port}"
            with at(fleet.address) as client:
                assert_stores_and_serves(client)
            with at_path(path) as client:
                assert_stores_and_serves(client)
            with closing(socket.create_connection(("127.0.0.1", port))) as busy:
                head = (
                    f"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: {len(BYTES)}\r\n\r\n"
                )
                busy.sendall(head.encode() + BYTES[:MIB])
                eventually(fleet.parts)
                fleet.process.send_signal(signal.SIGTERM)
                eventually(lambda: not fleet.listening(), seconds=5, what="the first is closed")
                eventually(lambda: refused(path), seconds=5, what="the other is closed")
                busy.sendall(BYTES[MIB:])
                assert busy.recv(1000).startswith(b"HTTP/1.1 201 ")
            fleet.assert_ends_well()

    def test_sockets_for_another_process(self, tmp_path: Path) -> None:
        variables = {"TEST_LISTEN_PID": "1"}
        with running(tmp_path, {}, (*ACTIVATOR, "0", "--"), variables) as fleet:
            opened = int(self.opened(fleet)[0].split(",")[1].strip(" )"))
            assert fleet.port != opened
            assert "LISTEN" not in environment_of(fleet.process.pid) | environment_of(fleet.pid)


def head(line: str) -> bytes:
    return f"{line} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(BYTES)}\r\n\r\n".encode()


def environment_of(pid: int) -> set[str]:
    """Names in the environment of a process, as it was started."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return {entry.partition(b"=")[0].decode() for entry in entries}


def refused(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) != 0


class TestNotices:
    """sd_notify(3)."""

    @pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
    def test_ready_and_stopping(self, tmp_path: Path, abstract: bool) -> None:
        name = f"@quart-app-test-{os.getpid()}" if abstract else str(tmp_path / "notices")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind(name.replace("@", "\0"))
            notices.settimeout(30)
            with running(tmp_path, {}, variables={"NOTIFY_SOCKET": name}) as fleet:
                assert notices.recv(100) == b"READY=1"
                assert httpx.get(f"{fleet.base_url}/readyz").status_code == 200
                fleet.process.send_signal(signal.SIGTERM)
                assert notices.recv(100) == b"STOPPING=1"
                fleet.assert_ends_well()

    def test_nobody_listens(self, tmp_path: Path) -> None:
        with running(tmp_path, {}, variables={"NOTIFY_SOCKET": str(tmp_path / "gone")}) as fleet:
            assert httpx.get(f"{fleet.base_url}/readyz").status_code == 200


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = directory / "key.pem", directory / "cert.pem"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ("openssl", "req", "-x509", *curve, *subject, "-days", "2")
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60
    )
    return certificate, key


@pytest.fixture(scope="module", params=LOOPS)
def tls_settings(
    request: pytest.FixtureRequest, certificate: tuple[Path, Path]
) -> dict[str, object]:
    return {"certfile": certificate[0], "keyfile": certificate[1], "loop": request.param}


@pytest.fixture(scope="module")
def tls(
    tls_settings: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    with running(tmp_path_factory.mktemp("fleet"), tls_settings) as fleet:
        yield fleet


@pytest.fixture
def stopping(tls_settings: dict[str, object], tmp_path: Path) -> Iterator[Fleet]:
    """One that the test stops."""
    with running(tmp_path, tls_settings) as fleet:
        yield fleet
        assert not fleet.running


@pytest.fixture
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[0])


class TestTls:
    @pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
    def test_upload_and_download(self, tls: Fleet, trusting: ssl.SSLContext, version: str) -> None:
        with httpx.Client(
            base_url=tls.base_url, verify=trusting, http2=version == "HTTP/2", timeout=60
        ) as client:
            assert client.get("/readyz").http_version == version
            assert_stores_and_serves(client)
        tls.assert_settled()

    @pytest.mark.parametrize("version", ["--http1.1", "--http2"])
    def test_curl(
        self, tls: Fleet, certificate: tuple[Path, Path], tmp_path: Path, version: str
    ) -> None:
        (tmp_path / "a").write_bytes(BYTES)
        quiet = ("--cacert", certificate[0], version)
        answer = curl(*quiet, "-T", tmp_path / "a", f"{tls.base_url}/upload/a.bin")
        [file] = httpx.Response(201, content=answer).json()["files"]
        assert curl(*quiet, f"{tls.base_url}{file['url']}") == BYTES
        tls.assert_settled()

    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None), (["h3"], None)],
    )
    def test_alpn(
        self, tls: Fleet, trusting: ssl.SSLContext, offered: list[str], chosen: str | None
    ) -> None:
        if offered:
            trusting.set_alpn_protocols(offered)
        with closing(self.connected(tls, trusting)) as connection:
            assert connection.selected_alpn_protocol() == chosen
            if chosen == "h2":
                assert Http2Client(connection).get("/healthz").status == 200
            else:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")

    def connected(
        self, tls: Fleet, context: ssl.SSLContext, receive_buffer: int | None = None
    ) -> ssl.SSLSocket:
        connection = socket.socket()
        if receive_buffer is not None:  # has to be known before the connection is made
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(CLIENT_SECONDS)
        connection.connect((tls.host, tls.port))
        return context.wrap_socket(connection, server_hostname=tls.host)

    def test_stop_comes_into_a_handshake(self, stopping: Fleet, trusting: ssl.SSLContext) -> None:
        with socket.create_connection((stopping.host, stopping.port)) as early:
            stopping.worker_of(early)
            stopping.process.send_signal(signal.SIGTERM)
            eventually(lambda: not stopping.listening())
            with trusting.wrap_socket(early, server_hostname=stopping.host) as connection:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n")
                assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        stopping.assert_ends_well()

    def test_stop_with_a_reader_that_is_late(
        self, stopping: Fleet, trusting: ssl.SSLContext
    ) -> None:
        """All was sent long ago; what the client says meanwhile is no reason to cut it."""
        with httpx.Client(base_url=stopping.base_url, verify=trusting) as client:
            path = upload(client, BYTES)["url"]
        connection = self.connected(stopping, trusting, receive_buffer=16 * KIB)
        with closing(connection), connection.makefile("rb") as file:
            connection.sendall(head(f"GET {path}"))
            while file.readline() != b"\r\n":
                pass
            body = file.read(2 * MIB)
            stopping.process.send_signal(signal.SIGTERM)
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\nX: ")
            while piece := file.read(min(32 * KIB, len(BYTES) - len(body))):
                body += piece
                with suppress(OSError):  # closed as soon as all has come
                    connection.sendall(b"x")
                time.sleep(32 * KIB / (0.7 * MIB))
            assert body == BYTES
        stopping.assert_ends_well()

    def test_stop_with_clients_that_rest(self, stopping: Fleet, trusting: ssl.SSLContext) -> None:
        """Those that do not look at their connections give no farewell, and hold nothing up."""
        with ExitStack() as clients:
            for http2 in (False, True):
                client = httpx.Client(base_url=stopping.base_url, verify=trusting, http2=http2)
                assert clients.enter_context(client).get("/healthz").status_code == 200
            stopping.stop()

    def test_early_answer(self, tls: Fleet, trusting: ssl.SSLContext) -> None:
        """A refusal with the body on its way can be read by a client that sends first."""
        with closing(self.connected(tls, trusting)) as connection:
            connection.sendall(head("POST /nowhere") + BYTES)
            assert connection.recv(1000).startswith(b"HTTP/1.1 404 ")
        tls.assert_settled()

    def test_no_tls(self, tls: Fleet) -> None:
        """A client that does not speak TLS, and one that stops in its midst."""
        for said in (b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b""):
            with socket.create_connection((tls.host, tls.port)) as connection:
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(CLIENT_SECONDS)
                while connection.recv(1000):
                    pass
        tls.assert_settled()
