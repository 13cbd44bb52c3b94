"""Which hosts a request may be addressed to, and which web sites it may come from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

from quart_app.errors import BadUrl, BlockedAddress
from quart_app.protocol.addresses import DEFAULT_PORTS, PORTS, canonical_host

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["HostPattern", "HostPolicy", "canonical_origin", "is_foreign", "is_loopback"]

#: Host and port of a `Host` field (RFC 9110, 7.2); the host is checked by `canonical_host`.
_AUTHORITY = re.compile(r"(\[[0-9a-f]*:[0-9a-f:.]*\]|[^:\[\]]+)(?::([0-9]{0,5}))?", re.IGNORECASE)

#: An origin as browsers write it (RFC 6454, 6.2); a path or a trailing slash is no part of it.
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@]+)", re.IGNORECASE)


def _split(authority: str) -> tuple[str, int | None]:
    """Split an authority into the canonical spelling of its host, and its port.

    Raises:
        ValueError: It is malformed, or its host is no name and no address in its usual form.
    """
    found = _AUTHORITY.fullmatch(authority)
    # Clients send names in ASCII (RFC 3490); a name that has to be mapped is a disguise.
    if found is None or not authority.isascii() or int(found[2] or 0) >= PORTS:
        raise ValueError(f"{authority!r} is not host or host:port")
    try:
        return canonical_host(found[1]), int(found[2]) if found[2] else None
    except (BadUrl, BlockedAddress) as error:
        raise ValueError(f"{authority!r} is not host or host:port") from error


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name (RFC 6761, 6.3) or its address.

    Args:
        host: A name, or an address without brackets.
    """
    try:
        address = ip_address(host)
    except ValueError:
        return f".{host.lower()}".endswith(".localhost")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One entry of the setting `allowed_hosts`.

    Attributes:
        host: Canonical host, or `*` for any.
        port: The only port that matches; None for any.
        itself: Whether the host matches.
        below: Whether the names below the host match.
    """

    host: str
    port: int | None = None
    itself: bool = True
    below: bool = False

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Read `example.org`, `example.org:8443`, `*.example.org`, `.example.org`, `[::1]` or `*`.

        Raises:
            ValueError: It is none of these.
        """
        if text == "*":
            return _ANY
        below = text.startswith(("*.", "."))
        host, port = _split(text.removeprefix("*").removeprefix(".") if below else text)
        if below and (":" in host or host.replace(".", "").isdecimal()):
            raise ValueError(f"{text!r}: nothing lies below an address")
        return cls(host, port, itself=not text.startswith("*."), below=below)

    def matches(self, host: str, port: int | None) -> bool:
        """Return whether the host and the port of a request match.

        A request without a port has the default port of a scheme that only the client knows where
        something in front of this service does TLS.
        """
        if self.port is not None and self.port not in ({port} if port else DEFAULT_PORTS.values()):
            return False
        return (self.itself and host == self.host) or (
            self.below and host.endswith(f".{self.host}")
        )


#: Matches every `Host`, a malformed one too: policy leaves the syntax to the server.
_ANY = HostPattern("*")


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """The hosts that a service answers for.

    A page of another site that has its own name resolved to this service's address (DNS rebinding)
    is of the same origin to a browser: the name in `Host` alone shows the attack.

    Attributes:
        patterns: Hosts that are allowed.
        loopback: Whether `localhost`, the names below it and loopback addresses are allowed too.
    """

    patterns: tuple[HostPattern, ...]
    loopback: bool = False

    @classmethod
    def chosen(cls, allowed: Iterable[str]) -> HostPolicy:
        """Make the policy that an operator has chosen by `allowed_hosts`."""
        return cls(tuple(map(HostPattern.parse, allowed)))

    @classmethod
    def bound(cls, addresses: Iterable[str], name: str) -> HostPolicy:
        """Make the policy of a service whose operator has chosen none.

        Args:
            addresses: Where the service listens; none for Unix sockets.
            name: The host that was bound, as the setting `host` has it.
        """
        if not all(map(is_loopback, addresses)):
            return cls((_ANY,))
        try:
            return cls((HostPattern(_split(f"[{name}]" if ":" in name else name)[0]),), True)
        except ValueError:
            return cls((), True)

    def admits(self, authority: str) -> bool:
        """Return whether the service answers for the `Host` of a request.

        Args:
            authority: The field; "" when the request has none, as HTTP/1.0 allows and no browser
                does.
        """
        if not authority or _ANY in self.patterns:
            return True
        try:
            host, port = _split(authority)
        except ValueError:
            return False
        return (self.loopback and is_loopback(host)) or any(
            pattern.matches(host, port) for pattern in self.patterns
        )


def canonical_origin(text: str) -> str:
    """Return the spelling of an origin that browsers send: lower case, without the default port.

    Args:
        text: An origin with any scheme, as browser extensions have their own; or `*` for all.

    Raises:
        ValueError: It is no origin.
    """
    if text == "*":
        return text
    if (found := _ORIGIN.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is no origin, such as https://example.org")
    scheme = found[1].lower()
    host, port = _split(found[2])
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}{'' if port in (None, DEFAULT_PORTS.get(scheme)) else f':{port}'}"


def is_foreign(authority: str, origin: str, fetch_site: str) -> bool:
    """Return whether a browser says that a page of another site has caused a request.

    Scripts cannot set `Sec-Fetch-Site`, so its `same-origin` counts more than an `Origin` that is
    `null`, as pages with `Referrer-Policy: no-referrer` send, or differs from a `Host` that a proxy
    has rewritten. Browsers send it over TLS and to loopback names only; then `Origin` decides. The
    scheme is left aside, as it is not known behind a proxy that does TLS.

    Args:
        authority: The field `Host`.
        origin: The field `Origin`, or "".
        fetch_site: The field `Sec-Fetch-Site`, or "".
    """
    if fetch_site in {"same-origin", "none"}:
        return False
    if fetch_site == "cross-site":
        return True
    return bool(origin) and not _is_same(origin, authority)


def _is_same(origin: str, authority: str) -> bool:
    found = _ORIGIN.fullmatch(origin)
    if found is None or (default := DEFAULT_PORTS.get(found[1].lower())) is None:
        return False
    try:
        (host, port), (own_host, own_port) = _split(found[2]), _split(authority)
    except ValueError:
        return False
    return (host, port or default) == (own_host, own_port or default)
