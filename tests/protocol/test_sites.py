"""Which hosts and origins are taken for the service's own, and which spellings are not."""

from __future__ import annotations

import pytest

from quart_app.protocol.sites import (
    HostPattern,
    HostPolicy,
    canonical_origin,
    is_foreign,
    is_loopback,
)

LOOPBACK = HostPolicy.bound(["127.0.0.1"], "127.0.0.1")

OWN = ["localhost", "localhost:8000", "LOCALHOST", "LocalHost:1", "localhost.", "localhost.:8000",
       "a.localhost", "a.b.localhost:80", "127.0.0.1", "127.0.0.1:8000", "127.255.255.254",
       "[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "",
       "localhost:", "127.0.0.1:"]  # fmt: skip

#: As reports on Vite, Ollama, Jupyter, webpack and Django have them, and their like.
OTHERS = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
          "127.0.0.1.nip.io", "evillocalhost", "localhostevil", "localhost-evil.example",
          "localtest.me", "0.0.0.0", "0.0.0.0:8000", "[::]", "10.0.0.1", "169.254.169.254",
          "[::ffff:10.0.0.1]", "[fe80::1%lo]", "[::1]evil", "[::1].evil.example", "[::1", "::1",
          "::1:8000", "[localhost]", "127.1", "0x7f.0.0.1", "0177.0.0.1", "2130706433",
          "127.0.0.1.", "localhost..", ".localhost", "a..localhost",
          "localhost:80:80", "localhost:99999", "localhost:-1", "localhost:http", "localhost:٨",
          "localhost@evil.example", "evil.example@localhost", "evil.example#.localhost",
          "evil.example/.localhost", "evil.example?.localhost", "evil.example\\.localhost",
          "evil.example,localhost", "localhost, evil.example", "evil.example localhost",
          "localhost evil.example", " localhost", "localhost\t", "localhost\x00", "localhost\n",
          "%6cocalhost", "localhost%00.evil.example", "localhost\u3002", "\uff4cocalhost",
          "host.docker.internal", "http://localhost", "*", "*.localhost", "null"]  # fmt: skip


@pytest.mark.parametrize("authority", OWN)
def test_own_on_loopback(authority: str) -> None:
    assert LOOPBACK.admits(authority)


@pytest.mark.parametrize("authority", OTHERS)
def test_others_on_loopback(authority: str) -> None:
    assert not LOOPBACK.admits(authority)


@pytest.mark.parametrize(
    ("addresses", "name", "authority", "admitted"),
    [
        (["0.0.0.0"], "0.0.0.0", "evil.example", True),
        (["0.0.0.0"], "0.0.0.0", "a b", True),  # the server's own matter
        (["10.0.0.1"], "a.example", "b.example", True),
        (["127.0.0.1", "10.0.0.1"], "127.0.0.1", "evil.example", True),
        (["127.0.0.1", "::1"], "localhost", "evil.example", False),
        (["127.0.1.1"], "My-Host.", "my-host:8000", True),
        (["127.0.1.1"], "my-host", "a.my-host", False),
        (["::1"], "::1", "[::1]:8000", True),
        (["::ffff:127.0.0.1"], "::", "evil.example", False),
        (["::"], "::", "evil.example", True),
        ([], "127.0.0.1", "localhost", True),  # a Unix socket
        ([], "127.0.0.1", "evil.example", False),
        ([], "", "evil.example", False),
    ],
)
def test_default(addresses: list[str], name: str, authority: str, admitted: bool) -> None:
    assert HostPolicy.bound(addresses, name).admits(authority) is admitted


@pytest.mark.parametrize(
    ("pattern", "admitted", "refused"),
    [
        ("example.org", ["example.org", "EXAMPLE.org.", "example.org:8443"],
         ["a.example.org", "example.org.evil", "aexample.org", "localhost", "127.0.0.1"]),
        ("Example.ORG.", ["example.org"], ["example.com"]),
        ("*.example.org", ["a.example.org", "a.b.example.org:1"],
         ["example.org", "aexample.org", ".example.org", "a.example.org.evil"]),
        (".example.org", ["example.org", "a.example.org"], ["aexample.org", "org"]),
        ("example.org:8443", ["example.org:8443"],
         ["example.org", "example.org:443", "example.org:84430", "example.org:8443:1"]),
        ("example.org:443", ["example.org", "example.org:443"], ["example.org:80"]),
        ("*.example.org:8443", ["a.example.org:8443"], ["a.example.org", "example.org:8443"]),
        ("[2001:DB8::1]", ["[2001:db8:0::1]", "[2001:db8::1]:80"], ["[2001:db8::2]"]),
        ("10.0.0.1", ["10.0.0.1:8000"], ["10.0.0.10", "a.10.0.0.1"]),
        ("xn--bcher-kva.example", ["XN--bcher-kva.example"], ["bücher.example"]),
        ("*", ["example.org", "a b", "[::1"], []),
    ],
)  # fmt: skip
def test_pattern(pattern: str, admitted: list[str], refused: list[str]) -> None:
    policy = HostPolicy.chosen([pattern])
    assert [authority for authority in admitted if not policy.admits(authority)] == []
    assert [authority for authority in refused if policy.admits(authority)] == []
    assert policy.admits("")  # HTTP/1.0


@pytest.mark.parametrize(
    "text",
    ["", ".", "*.", "**", "*.*", "a*.example.org", "http://example.org", "example.org/", "a b",
     "example.org:0x50", "example.org:99999", "::1", ".10.0.0.1", "*.[::1]",
     "bücher.example", "127.1"],
)  # fmt: skip
def test_no_pattern(text: str) -> None:
    with pytest.raises(ValueError, match=r"host|lies below"):
        HostPattern.parse(text)


@pytest.mark.parametrize("host", ["localhost", "127.1.2.3", "::1", "a.LOCALHOST"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback(host + "x")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("https://Example.ORG", "https://example.org"),
        ("https://example.org:443", "https://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("*", "*"),
    ],
)
def test_origin(text: str, canonical: str) -> None:
    assert canonical_origin(text) == canonical


@pytest.mark.parametrize(
    "text", ["", "null", "example.org", "https://", "https://a/", "https://a/b", "https://*.a",
             "https://a@b", "https://a b", "https://a?b", "//a"],
)  # fmt: skip
def test_no_origin(text: str) -> None:
    with pytest.raises(ValueError, match=r"origin|host"):
        canonical_origin(text)


@pytest.mark.parametrize(
    ("authority", "origin", "fetch_site", "foreign"),
    [
        ("a.example", "", "", False),  # no browser
        ("a.example", "", "same-origin", False),
        ("a.example", "", "none", False),
        ("a.example", "", "same-site", False),
        ("a.example", "", "cross-site", True),
        ("a.example", "https://a.example", "cross-site", True),
        ("a.example", "https://a.example", "", False),
        ("a.example", "http://a.example", "", False),  # TLS may end in front
        ("a.example", "https://A.example.", "", False),
        ("a.example:443", "https://a.example", "", False),
        ("a.example:8443", "https://a.example:8443", "", False),
        ("a.example:8443", "https://a.example", "", True),
        ("a.example", "https://a.example:8443", "", True),
        ("[::1]:8000", "http://[::1]:8000", "", False),
        ("127.0.0.1:8000", "http://localhost:8000", "", True),
        ("localhost:8000", "http://localhost:3000", "same-site", True),
        ("a.example", "https://b.a.example", "same-site", True),
        ("a.example", "https://a.example.evil", "", True),
        ("a.example", "https://evil.example/a.example", "", True),
        ("a.example", "https://evil.example#a.example", "", True),
        ("a.example", "https://a.example@evil.example", "", True),
        ("a.example", "https://a.example, https://evil.example", "", True),
        ("a.example", "null", "", True),
        ("a.example", "file://", "", True),
        ("abc", "chrome-extension://abc", "", True),
        ("", "https://a.example", "", True),
        ("a b", "https://a b", "", True),
        # A browser vouches for what `Referrer-Policy: no-referrer` and proxies hide.
        ("a.example", "null", "same-origin", False),
        ("upstream:8000", "https://a.example", "same-origin", False),
        # What is no value of the field decides nothing.
        ("a.example", "https://b.example", "same-origin, cross-site", True),
        ("a.example", "https://b.example", "Same-Origin", True),
    ],
)
def test_foreign(authority: str, origin: str, fetch_site: str, foreign: bool) -> None:
    assert is_foreign(authority, origin, fetch_site) is foreign
