"""Connections go to the address that was checked, under the name that was asked for."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import BlockedAddress, UpstreamFailed, UpstreamTimeout
from quart_app.protocol.addresses import AddressPolicy, Endpoint
from quart_app.upstream import Client, Connector, tls_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quart_app.upstream.connecting import Address

pytestmark = pytest.mark.asyncio(loop_scope="function")

NAME = "origin.test"

PUBLIC = "93.184.216.34"


class Resolver:
    """Gives the next answer each time it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> list[Address]:
        self.asked.append(name)
        found = self.answers.pop(0)
        return [ip_address(text) for text in found]


class Server:
    """Counts connections, and answers with the `Host` it was asked for."""

    def __init__(self) -> None:
        self.connections = 0
        self.names: list[str | None] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        host = next(line for line in head.split("\r\n") if line.lower().startswith("host:"))
        body = host.partition(": ")[2].encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def served(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    running = await asyncio.start_server(server, "127.0.0.1", 0, ssl=context)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        await running.wait_closed()


@asynccontextmanager
async def client_of(
    resolver: Resolver, *exceptions: Endpoint, context: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    policy = AddressPolicy(frozenset(exceptions))
    client = Client(Connector(policy, context or tls_context(), stall_timeout=1, resolver=resolver))
    try:
        yield client
    finally:
        await client.close()


async def text_of(client: Client, url: str) -> str:
    async with client.ask("GET", url, []) as answer:
        return b"".join([chunk async for chunk in answer.chunks]).decode()


@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], [PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], ["::1"],
                ["::ffff:127.0.0.1"], [PUBLIC, "169.254.169.254"]],
)  # fmt: skip
async def test_name_with_an_address_that_is_not_public(answers: list[str]) -> None:
    server = Server()
    async with served(server) as port, client_of(Resolver(answers)) as client:
        with pytest.raises(BlockedAddress):
            await text_of(client, f"http://{NAME}:{port}/")
    assert server.connections == 0


async def test_rebinding() -> None:
    """A name server that changes its answer after the check is not asked again."""
    server = Server()
    resolver = Resolver(["127.0.0.1"], ["127.0.0.9"])
    async with served(server) as port:
        allowed = Endpoint(NAME, port)
        async with client_of(resolver, allowed) as client:
            assert await text_of(client, f"http://{NAME.upper()}:{port}/") == f"{NAME}:{port}"
    assert resolver.asked == [NAME]
    assert server.connections == 1


async def test_every_connection_looks_up_again() -> None:
    """No address is kept for longer than a connection to it."""
    server = Server()
    resolver = Resolver(["127.0.0.1"], ["127.0.0.99"])
    async with served(server) as port, client_of(resolver, Endpoint(NAME, port)) as client:
        await text_of(client, f"http://{NAME}:{port}/")
        with pytest.raises(UpstreamFailed):
            await text_of(client, f"http://{NAME}:{port}/")
    assert server.connections == 1


async def test_addresses_are_tried_in_turn() -> None:
    server = Server()
    resolver = Resolver(["127.0.0.77", "127.0.0.1"])
    async with served(server) as port, client_of(resolver, Endpoint(NAME, port)) as client:
        assert await text_of(client, f"http://{NAME}:{port}/")


async def test_name_without_addresses() -> None:
    async with client_of(Resolver([])) as client:
        with pytest.raises(UpstreamFailed):
            await text_of(client, f"http://{NAME}/")


async def test_name_server_that_says_nothing() -> None:
    class Silent(Resolver):
        async def __call__(self, name: str) -> list[Address]:
            await asyncio.Event().wait()
            return []

    async with client_of(Silent()) as client:
        with pytest.raises(UpstreamTimeout):
            await text_of(client, f"http://{NAME}/")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for `origin.test` in one file."""
    openssl = shutil.which("openssl")
    assert openssl is not None, "openssl is missing"
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = [openssl, "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    with path.open("ab") as file:
        file.write(done.stdout)
    return path


class TestTls:
    """The URL's host is the name asked for and verified, whatever the address."""

    async def test_name(self, certificate: Path) -> None:
        server, names = Server(), []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda _socket, name, _context: names.append(name)
        trusting = ssl.create_default_context(cafile=certificate)
        async with served(server, context) as port:
            allowed = Endpoint(NAME, port), Endpoint("other.test", port)
            resolver = Resolver(["127.0.0.1"], ["127.0.0.1"])
            async with client_of(resolver, *allowed, context=trusting) as client:
                assert await text_of(client, f"https://{NAME}:{port}/") == f"{NAME}:{port}"
                with pytest.raises(UpstreamFailed) as caught:
                    await text_of(client, f"https://other.test:{port}/")
        assert names == [NAME, "other.test"]
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)

    async def test_unknown_authority(self, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        resolver = Resolver(["127.0.0.1"])
        async with (
            served(Server(), context) as port,
            client_of(resolver, Endpoint(NAME, port)) as client,
        ):
            with pytest.raises(UpstreamFailed):
                await text_of(client, f"https://{NAME}:{port}/")
