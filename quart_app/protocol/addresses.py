"""Which servers may be asked on a client's behalf: rules on URLs, names and addresses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote

import idna

from quart_app.errors import BadUrl, BlockedAddress

__all__ = [
    "AddressPolicy",
    "Endpoint",
    "canonical_host",
    "canonical_url",
    "is_public",
    "parse_exception",
]

DEFAULT_PORTS = {"http": 80, "https": 443}

PORTS = 2**16

#: Ports below it belong to services that do not speak HTTP, but for the two above.
FIRST_UNPRIVILEGED_PORT = 1024

#: IANA's special-purpose registry, what multicast and the future hold, and what clouds add.
_NOT_PUBLIC_4 = [
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this network, and "any"
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # carriers' NAT (RFC 6598); Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata, on an address that looks public
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays, given up (RFC 7526)
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
#: Whatever is mapped, translated, local, multicast or reserved lies outside.
_GLOBAL_6 = ip_network("2000::/3")
_NOT_PUBLIC_6 = [
    ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments, among them Teredo, which embeds IPv4
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which embeds IPv4
        "3fff::/20",  # documentation
    )
]
#: Interface identifiers of ISATAP, which embed IPv4 in any network (RFC 5214, 6.1).
_ISATAP = {0x00005EFE, 0x02005EFE}

#: Hosts whose last label is a number: addresses to some resolvers, names to others.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.IGNORECASE)

#: What no public name lies under: this host (RFC 6761), its link (RFC 6762), a home (RFC 8375), a
#: private network or a cloud's metadata (`internal`, set aside by ICANN), whatever DNS says.
_LOCAL_DOMAINS = (".localhost", ".localdomain", ".local", ".home.arpa", ".internal")

#: Names as they are looked up, internationalized ones encoded (RFC 1123, 2.1).
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
MAX_NAME_SIZE = 253

#: Scheme, userinfo, host, port and the rest of a URL. The host may be percent-encoded, and so
#: may the brackets of an IPv6 address: most clients encode them in a path.
_URL = re.compile(
    r"(https?://)([^/?#]*@)?((?:\[|%5b)[^/?#@]*(?:\]|%5d)|[^/?#@:]*)(:[0-9]*)?((?:[/?#].*)?)",
    re.IGNORECASE | re.DOTALL,
)

_USUAL_FORM = "Write an address in its usual form."


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address belongs to a machine of the public Internet, and to no other."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address not in _GLOBAL_6 or any(address in network for network in _NOT_PUBLIC_6):
        return False
    return int(address) >> 32 & 0xFFFFFFFF not in _ISATAP


def canonical_host(host: str) -> str:
    """Return the one spelling of a host: lower case, no trailing dot, addresses as they print.

    A name that is not ASCII is mapped and encoded by IDNA (UTS 46, STD 3 rules).

    Args:
        host: Name or address without percent-encoding, IPv6 addresses with or without brackets.

    Raises:
        BlockedAddress: The host is an address in a form that resolvers read in different ways:
            decimal, octal, hexadecimal, short, with a zone, or in letters that map to digits.
        BadUrl: The host is neither a name nor an address.
    """
    plain = host if host.isascii() else _mapped_name(host)
    bare = plain.lower()
    if ":" in bare and bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1]
    try:
        address = ip_address(bare)
    except ValueError:
        if _NUMERIC.fullmatch(bare) or ":" in bare:
            raise BlockedAddress(_USUAL_FORM) from None
        name = bare.removesuffix(".")
        if not (_NAME.fullmatch(name) and len(name) <= MAX_NAME_SIZE):
            raise BadUrl("The host is no name and no address.") from None
        return name
    if "%" in bare or plain != host:
        raise BlockedAddress(_USUAL_FORM)
    return str(address)


def _mapped_name(name: str) -> str:
    try:
        return idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
    except UnicodeError as error:
        raise BadUrl("The host is no internationalized name.") from error


def canonical_url(url: str) -> str:
    """Return a URL with its host percent-decoded once (RFC 3986, 3.2.2) and in canonical spelling.

    No parser can read another host in the result: it has letters, digits and the marks of names and
    addresses only.

    Args:
        url: Absolute URL.

    Raises:
        BadUrl: The URL is malformed, holds credentials, or is neither `http` nor `https`.
        BlockedAddress: As `canonical_host` raises.
    """
    parts = _URL.fullmatch(url)
    if parts is None or not parts[3]:
        raise BadUrl("Give an absolute http:// or https:// URL.")
    scheme, userinfo, encoded, port, rest = parts.groups(default="")
    if userinfo:
        raise BadUrl("A URL must not hold credentials.")
    try:
        host = canonical_host(unquote(encoded, errors="strict"))
    except UnicodeDecodeError as error:
        raise BadUrl("The host is not encoded in UTF-8.") from error
    return f"{scheme}{f'[{host}]' if ':' in host else host}{port}{rest}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a URL leads.

    Attributes:
        host: Name or address, in its canonical spelling.
        port: TCP port.
    """

    host: str
    port: int

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The address, where the host is one."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


def parse_exception(text: str) -> Endpoint:
    """Read an exception, `host:port` or `[IPv6 address]:port`.

    Raises:
        ValueError: It is none.
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not (colon and host and port.isascii() and port.isdecimal() and 0 < int(port) < PORTS):
        raise ValueError(f"{text!r} is not host:port")
    if ":" in host and not bracketed:
        raise ValueError(f"{text!r} lacks brackets around its IPv6 address")
    try:
        return Endpoint(canonical_host(host), int(port))
    except (BadUrl, BlockedAddress) as error:
        raise ValueError(f"{text!r} is not host:port") from error


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Public addresses only, but for exceptions.

    An exception holds for the host as the URL spells it: another name that leads to the same
    address is refused.

    Attributes:
        exceptions: Endpoints that are allowed whatever their address.
        everything: No address is refused, as where an operator has chosen the URL.
    """

    exceptions: frozenset[Endpoint] = frozenset()
    everything: bool = False

    def admit(self, scheme: str, userinfo: bytes, host: str, port: int | None) -> Endpoint:
        """Give the endpoint of a URL, if policy allows to look it up.

        Args:
            scheme: In lower case.
            userinfo: Credentials in the URL.
            host: As the URL has it.
            port: As the URL has it, or None.

        Raises:
            BadUrl: It is no plain URL of the web.
            BlockedAddress: Policy speaks against the port or the host.
        """
        if scheme not in DEFAULT_PORTS or not host:
            raise BadUrl("Give an absolute http:// or https:// URL.")
        if userinfo and not self.everything:
            raise BadUrl("A URL must not hold credentials.")
        if self.everything:
            return Endpoint(host, port or DEFAULT_PORTS[scheme])
        number = DEFAULT_PORTS[scheme] if port is None else port
        if number >= PORTS:
            raise BadUrl("There is no such port.")
        endpoint = Endpoint(canonical_host(host), number)
        if endpoint not in self.exceptions:
            if number not in DEFAULT_PORTS.values() and number < FIRST_UNPRIVILEGED_PORT:
                raise BlockedAddress("The port is not allowed.")
            if f".{endpoint.host}".endswith(_LOCAL_DOMAINS):
                raise BlockedAddress("Only public addresses are allowed.")
        return endpoint

    def check(self, endpoint: Endpoint, address: IPv4Address | IPv6Address) -> None:
        """Do nothing if policy allows a connection to this address of an endpoint.

        Raises:
            BlockedAddress: It does not.
        """
        if not (self.everything or endpoint in self.exceptions or is_public(address)):
            raise BlockedAddress("Only public addresses are allowed.")
