"""Which URLs and addresses are let through."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.errors import BadUrl, BlockedAddress
from quart_app.protocol.addresses import (
    AddressPolicy,
    Endpoint,
    canonical_host,
    canonical_url,
    is_public,
    parse_exception,
)

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0",
    "126.255.255.255", "128.0.0.1", "169.253.0.1", "172.15.255.255", "172.32.0.0", "192.0.1.1",
    "192.167.0.1", "198.17.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111",
    "2a00:1450:4001::1", "2001:4860:4860::8888",
]  # fmt: skip

NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
    "100.127.255.255", "127.0.0.1", "127.255.255.254", "168.63.129.16", "169.254.0.1",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:0:53aa:64c:0:7fff:80ff:fffe", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
    "ff02::1", "ff0e::1", "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_not_public(text: str) -> None:
    assert not is_public(ip_address(text))


@pytest.mark.parametrize(
    ("host", "spelt"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("[2606:4700:0:0::1111]", "2606:4700::1111"),
        ("8.8.8.8", "8.8.8.8"),
        ("1e100.net", "1e100.net"),
        ("4.example", "4.example"),
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("B\u00dcCHER\u3002example\uff0e", "xn--bcher-kva.example"),
        ("\u212a.example", "k.example"),
    ],
)
def test_spelling(host: str, spelt: str) -> None:
    assert canonical_host(host) == spelt


@pytest.mark.parametrize(
    "host",
    [
        "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.1", "127.0.1",
        "127.0.0.1.", "8.8.2056", "0x08080808", "1.2.3.4.5", "08.8.8.8", "256.1.1.1", "0x",
        "example.0x7f", "[fe80::1%eth0]", "[fe80::1%25eth0]", "a:b",
    ],
)  # fmt: skip
def test_odd_forms_of_addresses(host: str) -> None:
    with pytest.raises(BlockedAddress):
        canonical_host(host)


@pytest.mark.parametrize(
    "host", ["a b", "a%20b", "a..b", ".a", "-" * 64, "a." * 128, "", "[", "a/b", "[a]", "[1.2.3.4]",
             "\u00e9 ", "\u00e9..a", "\u00e9" * 64, "\u00e9" * 5000, "\ud800", "a\uff0fb",
             "\u2100.a", "a\uff20b", "\u00e9_a", "[::\uff11]"]
)  # fmt: skip
def test_no_host(host: str) -> None:
    with pytest.raises(BadUrl):
        canonical_host(host)


ENCODED = [
    ("http://b%C3%BCcher.example/x%C3%BC?y#z", "http://xn--bcher-kva.example/x%C3%BC?y#z"),
    ("HTTP://b\u00fccher.example:8080", "HTTP://xn--bcher-kva.example:8080"),
    ("http://%5B2606:4700::1111%5D:8080/", "http://[2606:4700::1111]:8080/"),
    ("http://%5b2606%3A4700%3a%3a1111%5d", "http://[2606:4700::1111]"),
    ("http://%65xample.org/%65", "http://example.org/%65"),
    ("https://example.org:/", "https://example.org:/"),
    ("http://example.org?a@b", "http://example.org?a@b"),
]


@pytest.mark.parametrize(("url", "canonical"), ENCODED)
def test_encoded_host(url: str, canonical: str) -> None:
    assert canonical_url(url) == canonical
    assert canonical_url(canonical) == canonical


#: Spellings of hosts that are forbidden or none, by which parsers and filters were confused before.
FORBIDDEN = [
    # percent-encoded, once and twice
    "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "127%252e0.0.1", "%6c%6f%63alhost", "localhost%00",
    "localhost%00.example.org", "example.org%00localhost", "127.0.0.1%2f.example.org",
    "example.org%2f@127.0.0.1", "127.0.0.1%23.example.org", "127.0.0.1%3f.example.org",
    "127.0.0.1%40example.org", "example.org%40127.0.0.1", "127.0.0.1%5c.example.org",
    "127.0.0.1%0d%0aHost", "127.0.0.1%09", "%20127.0.0.1", "127.0.0.1%20example.org",
    "%5B::1%5D", "%5B%3A%3A1%5D", "%5B::ffff:127.0.0.1%5D", "%5B::ffff:7f00:1%5D",
    "%5Bfe80::1%25eth0%5D", "%5B::1%255D", "%5B::1%5D%2eexample.org", "%25%35%42::1%5D", "%ff",
    "%E0%80%AF", "%c0%ae", "127.0.0.1%E3%80%82", "localhost%E3%80%82", "a%", "%zz",
    # letters that IDNA maps to digits, dots, letters, delimiters or nothing
    "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "127\uff0e0\uff0e0\uff0e1",
    "127\uff610\uff610\uff611", "\u2460\u2461\u2466.0.0.1", "\u00b9\u00b2\u2077.0.0.1",
    "\u246f\u2468\u3002\u2461\u2464\u2463\u3002\u246f\u2468\uff61\u2461\u2464\u2463",
    "\uff10\u02e37f.1", "0\uff587f000001", "\uff12130706433", "\U0001d7ce\u0078\uff17f.1",
    "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", "loc\u00adalhost", "loca\u200blhost",
    "l\u1d3c\u1d9cal\u02b0\u1d52\u02e2\u1d57", "LOCALHO\u017fT",
    "%ef%bc%91%ef%bc%92%ef%bc%97.0.0.1",
    "\u24dc\u24d4tadata.google.internal", "metadata\u3002google\u3002internal", "nas\uff0elocal",
    "127.0.0.1\uff0fexample.org", "127.0.0.1\uff03example.org", "a\uff20127.0.0.1",
    "127.0.0.1\uff1a80", "\uff3b::1\uff3d", "a\uff05\uff12\uff26b", "127.0.0.1\uff1f",
    "\u2488127.0.0.1",
    # numbers, as resolvers read them
    "2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "127.1", "127.0.1",
    "0", "0x0", "127.0.0.1.", "127.0.0.01", "127.0.0.256", "1.2.3.4.5", "0x",
    # IPv6 that holds IPv4, zones
    "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:0:0]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fe80::1%25lo]", "[fe80::1%lo]", "[::1%2525lo]",
    # two hosts in one
    "user@127.0.0.1", "example.org@127.0.0.1", "127.0.0.1@example.org", "a:b@127.0.0.1",
    "@127.0.0.1",
    "127.0.0.1\\@example.org", "example.org\\@127.0.0.1", "127.0.0.1\\.example.org",
    "a@b@127.0.0.1",
    "127.0.0.1:80:80", "127.0.0.1:80@example.org", "127.0.0.1:80%2f@example.org",
    "[::1]@example.org",
    "example.org@[::1]", "[::1]example.org", "example.org[::1]", "[[::1]]", "[::1", "::1]", "[",
    "127.0.0.1 example.org", "127.0.0.1\texample.org", "127.0.0.1\r\nHost: x", "\t127.0.0.1", "",
    "127.0.0.1;example.org", "127.0.0.1&@example.org", "127.0.0.1,example.org", "0.0.0.0",
    "10.0.0.1",
    "169.254.169.254", "%31%36%39.254.169.254", "localhost.", "a.localhost", "LOCALHOST", "[v1.a]",
]  # fmt: skip


@pytest.mark.parametrize("spelling", FORBIDDEN, ids=ascii)
@pytest.mark.parametrize("rest", ["/", ":80/x", "?a", "#@example.org/", ""])
def test_nothing_forbidden_can_be_reached(spelling: str, rest: str) -> None:
    """As the client does: canonical first, then read by httpx, then judged."""
    with pytest.raises((BadUrl, BlockedAddress, httpx.InvalidURL)):
        url = httpx.URL(canonical_url(f"http://{spelling}{rest}"))
        endpoint = NONE.admit(url.scheme, url.userinfo, url.raw_host.decode(), url.port)
        assert endpoint.address is not None, endpoint
        NONE.check(endpoint, endpoint.address)


@given(st.text(max_size=40), st.sampled_from(["", "/", ":80", "?", "#", "%2f", "@"]))
def test_all_parsers_read_the_same_host(text: str, rest: str) -> None:
    try:
        canonical = canonical_url(f"http://{text}{rest}")
        url = httpx.URL(canonical)
    except (BadUrl, BlockedAddress, httpx.InvalidURL):
        return
    assert urlsplit(canonical).hostname == url.raw_host.decode() == canonical_host(url.host)
    assert not url.userinfo


def test_no_port() -> None:
    with pytest.raises(BadUrl):
        NONE.admit("http", b"", "a.org", 65536)


NONE = AddressPolicy()


@pytest.mark.parametrize(
    ("scheme", "userinfo", "host"),
    [("ftp", b"", "a.org"), ("", b"", "a.org"), ("file", b"", ""), ("http", b"", ""),
     ("http", b"user", "a.org"), ("https", b"user:password", "a.org"), ("http", b":p", "a.org")],
)  # fmt: skip
def test_no_url_of_the_web(scheme: str, userinfo: bytes, host: str) -> None:
    with pytest.raises(BadUrl):
        NONE.admit(scheme, userinfo, host, None)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 81, 444, 1023])
def test_port_refused(port: int) -> None:
    with pytest.raises(BlockedAddress):
        NONE.admit("http", b"", "a.org", port)


@pytest.mark.parametrize(("port", "found"), [(None, 443), (80, 80), (443, 443), (1024, 1024)])
def test_port_allowed(port: int | None, found: int) -> None:
    assert NONE.admit("https", b"", "a.org", port) == Endpoint("a.org", found)


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "localhost.", "a.localhost", "LocalHost.", "localhost.localdomain",
     "metadata.google.internal", "Metadata.Google.Internal.", "host.docker.internal", "nas.local",
     "router.home.arpa"],
)  # fmt: skip
def test_local_name(host: str) -> None:
    with pytest.raises(BlockedAddress):
        NONE.admit("http", b"", host, None)


@pytest.mark.parametrize(
    "host", ["notlocalhost", "internal.a.org", "a.arpa", "mylocal", "alocal.org"]
)
def test_no_local_name(host: str) -> None:
    assert NONE.admit("http", b"", host, None).host == host


class TestExceptions:
    """They hold for a host as it is spelt, on a port."""

    policy = AddressPolicy(
        frozenset(map(parse_exception, ["127.0.0.1:25", "[::1]:80", "LAN.:80", "a.local:80"]))
    )

    @pytest.mark.parametrize(
        ("host", "port", "address"),
        [
            ("127.0.0.1", 25, "127.0.0.1"),
            ("::1", None, "::1"),
            ("lan", 80, "10.0.0.1"),
            ("a.local", 80, "10.0.0.1"),
        ],
    )
    def test_allowed(self, host: str, port: int | None, address: str) -> None:
        endpoint = self.policy.admit("http", b"", host, port)
        self.policy.check(endpoint, ip_address(address))

    @pytest.mark.parametrize(
        ("host", "port", "address"),
        [("127.0.0.1", 8080, "127.0.0.1"), ("::1", 8080, "::1"), ("a.org", 80, "10.0.0.1"),
         ("a.org", 80, "127.0.0.1")],
    )  # fmt: skip
    def test_another_is_none(self, host: str, port: int, address: str) -> None:
        endpoint = self.policy.admit("http", b"", host, port)
        with pytest.raises(BlockedAddress):
            self.policy.check(endpoint, ip_address(address))

    @pytest.mark.parametrize(
        "text", ["", "a.org", "a.org:", ":80", "a.org:0", "a.org:65536", "a.org:x", "::1:80",
                 "127.1:80", "a.org:-1", "[::1]", "http://a.org:80/:80"],
    )  # fmt: skip
    def test_no_exception(self, text: str) -> None:
        with pytest.raises(ValueError, match=r"host:port|brackets"):
            parse_exception(text)


def test_operators_choose_freely() -> None:
    policy = AddressPolicy(everything=True)
    endpoint = policy.admit("http", b"user:password", "localhost", 22)
    policy.check(endpoint, ip_address("127.0.0.1"))
