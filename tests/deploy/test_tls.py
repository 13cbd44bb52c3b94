"""TLS in the service itself, with HTTP/2 where the client speaks it."""

from __future__ import annotations

import signal
import ssl
import subprocess
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from tests.deploy.programs import debian, service
from tests.e2e.clients import MIB, content, upload
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deploy.programs import Service

BYTES = content(8 * MIB)


def make_certificate(directory: Path) -> None:
    """A certificate of its own making, in place of the one that was there."""
    command = [debian("openssl", "openssl"), "req", "-x509", "-nodes", "-days", "2"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", directory / "new-key.pem", "-out", directory / "new-cert.pem"]
    subprocess.run([str(part) for part in command], check=True, capture_output=True, timeout=60)
    for name in ("key.pem", "cert.pem"):
        (directory / f"new-{name}").rename(directory / name)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tls")
    make_certificate(directory)
    return directory / "cert.pem"


@pytest.fixture(scope="module")
def secure(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    flags = (f"--certfile={certificate}", f"--keyfile={certificate.with_name('key.pem')}")
    with service(tmp_path_factory.mktemp("service"), "--port=0", *flags) as running:
        yield running


def client(running: Service, certificate: Path, *, http2: bool) -> httpx.Client:
    trust = ssl.create_default_context(cafile=certificate)
    return httpx.Client(base_url=running.address, verify=trust, http2=http2, timeout=60)


@pytest.mark.parametrize("http2", [True, False], ids=["HTTP/2", "HTTP/1.1"])
def test_files_in_and_out(secure: Service, certificate: Path, http2: bool) -> None:
    assert secure.address.startswith("https://127.0.0.1:")
    with client(secure, certificate, http2=http2) as session:
        file = upload(session, BYTES)
        response = session.get(file["url"])
        assert response.content == BYTES
        assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert "alt-svc" not in response.headers  # which would offer HTTP/3
        part = session.get(file["url"], headers={"Range": "bytes=-5"})
        assert (part.status_code, part.content) == (206, BYTES[-5:])


def test_old_versions_of_tls_are_refused(secure: Service, certificate: Path) -> None:
    trust = ssl.create_default_context(cafile=certificate)
    trust.minimum_version = ssl.TLSVersion.TLSv1_2
    with httpx.Client(base_url=secure.address, verify=trust) as session:
        assert session.get("/healthz").status_code == 200
    with pytest.raises(httpx.ConnectError), httpx.Client(verify=True) as session:
        session.get(f"{secure.address}/healthz")  # nobody vouches for the certificate


def test_reload_takes_a_new_certificate(secure: Service, certificate: Path) -> None:
    host, _, port = secure.address.removeprefix("https://").partition(":")

    def served() -> str:
        return ssl.get_server_certificate((host, int(port)))

    before = served()
    assert before == certificate.read_text()
    make_certificate(certificate.parent)
    secure.process.send_signal(signal.SIGHUP)
    eventually(lambda: served() != before, what="the new certificate")
    launcher = psutil.Process(secure.process.pid)
    eventually(lambda: len(launcher.children()) == 1, what="the old worker is gone")
    assert served() == certificate.read_text()
