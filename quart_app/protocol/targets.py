"""Request targets and hosts: the resource that a request names (RFC 9110, 7; RFC 9112, 3.2)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

__all__ = ["BadTarget", "Host", "Target", "parse_host", "parse_target"]

#: Length of a domain name without its last dot, and of one of its labels (RFC 1035, 2.3.4).
MAX_NAME_LENGTH = 253
MAX_LABEL_LENGTH = 63

MAX_PORT = 65535

#: A registered name or address with a port, both as RFC 3986, 3.2.2 has them. The grammar allows
#: commas in names; they are refused, as two `Host` lines joined by a proxy have them.
HOST = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+))"
    r"(?::(?P<port>[0-9]{0,5}))?"
)

#: A target in absolute form, up to its query (RFC 9112, 3.2.2).
ABSOLUTE = re.compile(r"https?://(?P<authority>[^/]*)(?P<path>/.*)?", re.IGNORECASE)


class BadTarget(ValueError):
    """The request does not name a resource. The text is for the client."""


@dataclass(frozen=True)
class Host:
    """A host and its port.

    Attributes:
        name: Name in lower case, or address; an IPv6 address is without brackets.
        port: Port, or None.
    """

    name: str
    port: int | None


@dataclass(frozen=True)
class Target:
    """The resource that a request is for.

    Attributes:
        path: Path, still percent-encoded; `*` stands for the whole server.
        host: Value of the `Host` field that applies.
    """

    path: str
    host: str


def parse_host(value: str) -> Host:
    """Parse the value of a `Host` field, or the authority of a URL without user information.

    Args:
        value: Value without white space around it.

    Raises:
        BadTarget: The value is empty or malformed.
    """
    match = HOST.fullmatch(value)
    if match is None or not (_is_ipv6(match) if match["ipv6"] else _is_name(match["name"])):
        raise BadTarget("The host is malformed.")
    port = int(match["port"]) if match["port"] else None
    if port is not None and port > MAX_PORT:
        raise BadTarget("The port of the host is too high.")
    return Host((match["ipv6"] or match["name"]).lower(), port)


def _is_ipv6(match: re.Match[str]) -> bool:
    try:
        ipaddress.IPv6Address(match["ipv6"])
    except ValueError:
        return False
    return True


def _is_name(name: str) -> bool:
    labels = name.removesuffix(".").split(".")
    return len(name) <= MAX_NAME_LENGTH + 1 and all(
        0 < len(label) <= MAX_LABEL_LENGTH for label in labels
    )


def parse_target(method: str, path: str, host: str, http_version: str) -> Target:
    """Find the resource that a request is for.

    The authority of a target in absolute form replaces the `Host` field (RFC 9112, 3.2.2).

    Args:
        method: Method as the client wrote it.
        path: Request target up to its query.
        host: Value of the `Host` field or of `:authority`; "" if there is none.
        http_version: Version as ASGI has it: `1.0`, `1.1` or `2`.

    Raises:
        BadTarget: The target or the host is malformed, the host is missing where the version of
            HTTP needs one, or the method is `CONNECT`, for which the service has no targets.
    """
    if method == "CONNECT":
        raise BadTarget("CONNECT is not offered.")
    if host:
        parse_host(host)  # a malformed one is refused, even where it does not apply (RFC 9112, 3.2)
    if path == "*" and method == "OPTIONS":
        return Target(path, host)
    if path.startswith("/"):
        if not host and http_version != "1.0":
            raise BadTarget("The host is missing.")
        return Target(path, host)
    absolute = ABSOLUTE.fullmatch(path) if http_version.startswith("1.") else None
    if absolute is None:
        raise BadTarget("The request target is malformed.")
    parse_host(absolute["authority"])
    return Target(absolute["path"] or "/", absolute["authority"])
