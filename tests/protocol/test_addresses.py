"""Which URLs and addresses are let through."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from quart_app.errors import BadUrl, BlockedAddress
from quart_app.protocol.addresses import (
    AddressPolicy,
    Endpoint,
    canonical_host,
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
    "host", ["a b", "a%20b", "a..b", ".a", "-" * 64, "a." * 128, "é", "", "[", "a/b"]
)
def test_no_host(host: str) -> None:
    with pytest.raises(BadUrl):
        canonical_host(host)


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
