"""Connections to the address that was checked, and to no other."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, TypeAlias

import httpx

from quart_app.streaming import looked_up
from quart_app.upstream.wire import Wire

if TYPE_CHECKING:
    import ssl

    from quart_app.protocol.addresses import AddressPolicy, Endpoint

__all__ = ["Connector", "Resolver", "resolve", "tls_context"]

#: Most addresses of a name that are tried.
MOST_ADDRESSES = 8

#: Seconds for look-up, connection and TLS together.
CONNECT_TIMEOUT = 10.0

Address: TypeAlias = IPv4Address | IPv6Address

#: Gives the addresses of a name, the best first.
Resolver: TypeAlias = Callable[[str], Awaitable[list[Address]]]


def tls_context() -> ssl.SSLContext:
    """Make what checks certificates (blocks): against httpx's bundle, or `SSL_CERT_FILE`."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def resolve(name: str) -> list[Address]:
    """Give the addresses of a name, in the order of RFC 6724.

    Raises:
        OSError: It has none, or nobody can tell.
        Overloaded: No thread can be had to ask.
    """
    ask = partial(socket.getaddrinfo, name, None, type=socket.SOCK_STREAM)
    found = await looked_up(ask)
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


class Connector:
    """Opens connections that policy allows.

    What is checked is the address connected to, not the name: a name server that gives another
    address at the next question (DNS rebinding) is never asked again.

    Args:
        policy: Judges endpoints and addresses.
        context: For TLS; certificates are checked against the URL's host.
        stall_timeout: Seconds without progress after which a connection is given up.
        resolver: Looks names up.
    """

    def __init__(
        self,
        policy: AddressPolicy,
        context: ssl.SSLContext,
        *,
        stall_timeout: float,
        resolver: Resolver = resolve,
    ) -> None:
        self.policy = policy
        self._context = context
        self._connect_timeout = min(CONNECT_TIMEOUT, stall_timeout)
        self._stall_timeout = stall_timeout
        self._resolver = resolver

    async def connect(self, endpoint: Endpoint, *, tls: bool) -> Wire:
        """Open a connection; whoever gets it closes it.

        Raises:
            BlockedAddress: One of the name's addresses is not allowed: such a name is a trap.
            TimeoutError: It took too long.
            OSError: There is no way there, or TLS fails (`ssl.SSLError`).
        """
        async with asyncio.timeout(self._connect_timeout):
            addresses = await self._addresses(endpoint)
            connection = await self._first_connection(addresses, endpoint.port)
            return await self._opened(connection, endpoint.host if tls else None)

    async def _addresses(self, endpoint: Endpoint) -> list[Address]:
        literal = endpoint.address
        addresses = await self._resolver(endpoint.host) if literal is None else [literal]
        for address in addresses:
            self.policy.check(endpoint, address)
        if not addresses:
            raise OSError("The name has no address.")
        return list(dict.fromkeys(addresses))[:MOST_ADDRESSES]

    async def _first_connection(self, addresses: list[Address], port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connect_timeout
        last: OSError = OSError()
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            share = (deadline - loop.time()) / left
            try:
                async with asyncio.timeout(share):
                    return await _connection(address, port)
            except OSError as error:  # TimeoutError too
                last = error
        raise last

    async def _opened(self, connection: socket.socket, server_name: str | None) -> Wire:
        twin = connection.dup()
        wire = Wire(twin, self._stall_timeout, encrypted=server_name is not None)
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: wire,
                sock=connection,
                ssl=None if server_name is None else self._context,
                server_hostname=server_name,
            )
        except BaseException:
            twin.close()
            connection.close()
            raise
        return wire


async def _connection(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, (str(address), port))
    except BaseException:
        connection.close()
        raise
    return connection
