"""Connections to checked addresses only."""

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

#: Maximum number of addresses that are tried per name.
MAX_ADDRESSES = 8

#: Time-out in seconds for DNS look-up, connection and TLS handshake together.
CONNECT_TIMEOUT = 10.0

Address: TypeAlias = IPv4Address | IPv6Address

#: Returns the addresses of a name, in order of preference.
Resolver: TypeAlias = Callable[[str], Awaitable[list[Address]]]


def tls_context() -> ssl.SSLContext:
    """Create the TLS context with httpx's CA bundle or `SSL_CERT_FILE`. This function blocks."""
    context = httpx.create_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def resolve(name: str) -> list[Address]:
    """Return the addresses of a name, in the order of RFC 6724.

    Raises:
        OSError: The name has no address, or the look-up failed.
        Overloaded: No thread is available for the look-up.
    """
    ask = partial(socket.getaddrinfo, name, None, type=socket.SOCK_STREAM)
    found = await looked_up(ask)
    return [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]


class Connector:
    """Opens connections that the policy allows.

    The policy checks the address of the connection, not the name. No second look-up takes place, so
    a name server cannot return a different address after the check (DNS rebinding).

    Args:
        policy: Checks endpoints and addresses.
        context: TLS context. Certificates are checked against the host of the URL.
        stall_timeout: Seconds without progress after which a connection is closed.
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
        """Open a connection. The caller closes it.

        Raises:
            BlockedAddress: At least one address of the name is not allowed.
            TimeoutError: The time-out expired.
            OSError: The connection or the TLS handshake failed (`ssl.SSLError`).
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
        return list(dict.fromkeys(addresses))[:MAX_ADDRESSES]

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
