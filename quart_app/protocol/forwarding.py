"""Which header fields pass on, and which way (RFC 9110, 7.6)."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CLAIMS", "ORDERS", "Fields", "answer_of_origin", "answer_of_target",
           "request_to_origin", "request_to_target", "value_of"]  # fmt: skip

_SEPARATOR = re.compile(r"[^a-z0-9]")

#: Header fields in their order, with all their lines.
Fields: TypeAlias = "list[tuple[str, str]]"

#: Fields of one connection (RFC 9110, 7.6.1; RFC 7540, 3.2.1), with those that old proxies add.
HOP_BY_HOP = frozenset(
    {
        "connection", "http2-settings", "keep-alive", "proxy-authenticate",
        "proxy-authentication-info", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip

#: What asks for a file: form, part, conditions. Cookies and credentials are for this service.
REQUEST_TO_ORIGIN = frozenset(
    {
        "accept", "accept-encoding", "accept-language", "if-match", "if-modified-since",
        "if-none-match", "if-range", "if-unmodified-since", "range", "want-content-digest",
        "want-repr-digest",
    }
)  # fmt: skip

#: What describes a file. Anything else would speak in the name of this service: set cookies, ask
#: for passwords, loosen its policies, or have nginx send a file (`X-Accel-Redirect`).
ANSWER_OF_ORIGIN = frozenset(
    {
        "accept-ranges", "age", "cache-control", "content-digest", "content-disposition",
        "content-encoding", "content-language", "content-length", "content-range", "content-type",
        "etag", "expires", "last-modified", "repr-digest", "retry-after", "vary",
    }
)  # fmt: skip

#: Fields of a request that this service writes itself, or that are meant for this service.
OWN = frozenset({"content-length", "cookie", "expect", "host", "via"})

#: Fields in which a proxy states the address, certificate or user of its client, or a host, path or
#: method other than those of the request line, by the product or document that defines them. Their
#: readers trust them, so a client must not be able to write them. "-" at the end of a name stands
#: for every continuation.
CLAIMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "RFC 7239, and the fields that it replaces": ("forwarded", "forwarded-", "x-forwarded",
                                                      "x-forwarded-"),
        "nginx, ingress-nginx": ("x-real-", "x-scheme", "x-ssl-", "ssl-client-", "x-client-cert"),
        "CGI variables, read by PHP, WSGI and Java frameworks": (
            "client-ip", "path-info", "remote-addr", "remote-host", "remote-ip", "remote-user",
            "script-name", "x-client-ip", "x-originating-ip", "x-script-name"),
        "httpoxy, CVE-2016-5385; proxies of old": ("proxy", "proxy-"),
        "Rackspace, Riverbed": ("x-cluster-client-ip",),
        "Akamai, Cloudflare": ("true-client-", "cf-"),
        "Fastly": ("fastly-",),
        "Fly.io": ("fly-",),
        "AWS CloudFront, Application Load Balancer": ("cloudfront-", "x-amzn-mtls-",
                                                      "x-amzn-oidc-"),
        "Azure Front Door, App Service": ("x-azure-", "x-client-port", "x-ms-client-principal",
                                          "x-ms-client-principal-"),
        "Google App Engine, Identity-Aware Proxy": ("x-appengine-", "x-goog-authenticated-",
                                                    "x-goog-iap-", "x-proxyuser-ip"),
        "DigitalOcean, Netlify, Vercel": ("do-connecting-ip", "x-nf-client-connection-ip",
                                          "x-vercel-"),
        "Imperva, Sucuri, Alibaba, Tencent": ("ali-cdn-", "cdn-src-ip", "eo-client-ip",
                                              "incap-client-ip", "x-sucuri-"),
        "Envoy": ("x-envoy-",),
        "WebLogic": ("wl-proxy-",),
        "IIS: URL Rewrite, ISAPI_Rewrite, ARR; CVE-2018-14773": (
            "front-end-https", "x-arr-", "x-original-", "x-rewrite-"),
        "OData, Rack, Symfony and others that rewrite requests": (
            "x-host", "x-http-destinationurl", "x-http-host-override", "x-http-method",
            "x-http-method-override", "x-http-path-override", "x-method-override",
            "x-url-scheme"),
        "Kubernetes, oauth2-proxy, Grafana, Pomerium, Tailscale": (
            "tailscale-", "x-auth-request-", "x-authenticated-", "x-pomerium-", "x-remote-",
            "x-webauth-"),
    }
)  # fmt: skip

#: Fields of a response that order a server in front of this one to send other bytes or to process
#: them, by that server.
ORDERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "nginx": ("x-accel-",),
        "Apache (mod_xsendfile), lighttpd": ("x-lighttpd-", "x-sendfile", "x-sendfile-",
                                             "x-sendfile2"),
        "LiteSpeed": ("x-litespeed-",),
        "Perlbal, mod_reproxy": ("x-reproxy-",),
        "Edge Architecture Specification; Akamai": ("surrogate-", "edge-control"),
    }
)  # fmt: skip


def _names(table: Mapping[str, tuple[str, ...]]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the whole names of a table, and the beginnings of names."""
    names = [name for row in table.values() for name in row]
    beginnings = tuple(name for name in names if name.endswith("-"))
    return frozenset(names) - set(beginnings), beginnings


_CLAIMS, _CLAIMS_BEGIN = _names(CLAIMS)
_NOT_TO_TARGET = OWN | _CLAIMS
_ORDERS, _ORDERS_BEGIN = _names(ORDERS)


def value_of(fields: Iterable[tuple[str, str]], wanted: str) -> str | None:
    """Return the value of a field, several lines joined as one (RFC 9110, 5.3), or None."""
    return ", ".join([value for name, value in fields if name.lower() == wanted]) or None


def request_to_origin(fields: Fields) -> Fields:
    """Choose the fields of a client's request that go to the server of a URL that it named."""
    return [field for field in _end_to_end(fields) if field[0].lower() in REQUEST_TO_ORIGIN]


def answer_of_origin(fields: Fields) -> Fields:
    """Choose the fields of that server's response that go to the client."""
    return [field for field in _framed_once(fields) if field[0].lower() in ANSWER_OF_ORIGIN]


def request_to_target(fields: Fields) -> Fields:
    """Choose the fields of a client's request that go to a server of the operator's."""
    return [
        field
        for field in _end_to_end(fields)
        if (key := _variable(field[0])) not in _NOT_TO_TARGET and not key.startswith(_CLAIMS_BEGIN)
    ]


def answer_of_target(fields: Fields) -> Fields:
    """Choose the fields of that server's response that go to the client."""
    return [
        field
        for field in _framed_once(fields)
        if (key := _variable(field[0])) not in _ORDERS and not key.startswith(_ORDERS_BEGIN)
    ]


def _variable(name: str) -> str:
    """Return a name as its CGI variable has it: all but letters and digits are one character.

    RFC 3875, 4.1.18 maps the hyphen, many servers map every other character too: behind them
    `Transfer_Encoding` and `Transfer.Encoding` are `Transfer-Encoding`.
    """
    return _SEPARATOR.sub("-", name.lower())


def _end_to_end(fields: Fields) -> Fields:
    named = value_of(fields, "connection") or ""
    dropped = HOP_BY_HOP | {_variable(name.strip()) for name in named.split(",")}
    return [field for field in fields if not _is_dropped(field[0].lower(), dropped)]


def _is_dropped(name: str, dropped: frozenset[str]) -> bool:
    key = _variable(name)
    return key in dropped or (key == "content-length" != name)


def _framed_once(fields: Fields) -> Fields:
    """Drop a length that a transfer coding overrides (RFC 9112, 6.3), and hop-by-hop fields."""
    made_anew = {"date"}  # our own server dates its answers
    if value_of(fields, "transfer-encoding") is not None:
        made_anew.add("content-length")
    return [field for field in _end_to_end(fields) if _variable(field[0]) not in made_anew]
