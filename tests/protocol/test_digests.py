from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest

from quart_app.errors import BadDigest
from quart_app.protocol.digests import ALGORITHMS, declared_digests, parse_digests, repr_digest

CONTENT = b"hello"
SHA_256 = hashlib.sha256(CONTENT).digest()
SHA_512 = hashlib.sha512(CONTENT).digest()


def field(name: str, digest: bytes) -> str:
    return f"{name}=:{b64encode(digest).decode()}:"


TWO_56, FIVE_12 = field("sha-256", SHA_256), field("sha-512", SHA_512)
OTHER = field("sha-256", hashlib.sha256(b"other").digest())


@pytest.mark.parametrize(
    ("header", "digests"),
    [
        (None, {}),
        ("", {}),
        (TWO_56, {"sha-256": SHA_256}),
        (f"{FIVE_12}, {TWO_56}", {"sha-256": SHA_256, "sha-512": SHA_512}),
        (f"md5=:YQ==:, unixsum=30637, {TWO_56};x=1", {"sha-256": SHA_256}),
        ("md5=:YQ==:", {}),
    ],
)
def test_digests(header: str | None, digests: dict[str, bytes]) -> None:
    assert parse_digests(header) == digests


@pytest.mark.parametrize(
    "header",
    [
        "sha-256",
        "sha-256=1",
        "sha-256=::",
        f"sha-256={SHA_256.hex()}",
        f'sha-256="{b64encode(SHA_256).decode()}"',
        field("sha-256", SHA_512),
        field("sha-512", SHA_256),
        field("sha-256", SHA_256[:-1]),
        f"{TWO_56},",
        f"{TWO_56} {FIVE_12}",
        TWO_56[:-1],
        "SHA-256=:YQ==:",
    ],
)
def test_bad_digests(header: str) -> None:
    with pytest.raises(BadDigest):
        parse_digests(header)


@pytest.mark.parametrize(
    ("headers", "digests"),
    [
        ({}, {}),
        ({"Content-Digest": TWO_56}, {"sha-256": SHA_256}),
        ({"Repr-Digest": TWO_56}, {"sha-256": SHA_256}),
        ({"Content-Digest": TWO_56, "Repr-Digest": TWO_56}, {"sha-256": SHA_256}),
        (
            {"Content-Digest": TWO_56, "Repr-Digest": FIVE_12},
            {"sha-256": SHA_256, "sha-512": SHA_512},
        ),
    ],
)
def test_declared(headers: dict[str, str], digests: dict[str, bytes]) -> None:
    assert declared_digests(headers) == digests


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Digest": "!"},
        {"Repr-Digest": "!"},
        {"Content-Digest": TWO_56, "Repr-Digest": OTHER},
        {"Content-Digest": f"{FIVE_12}, {TWO_56}", "Repr-Digest": f"{FIVE_12}, {OTHER}"},
    ],
)
def test_badly_declared(headers: dict[str, str]) -> None:
    with pytest.raises(BadDigest):
        declared_digests(headers)


def test_repr_digest_reads_back() -> None:
    text = repr_digest(SHA_256.hex())
    assert text == "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
    assert parse_digests(text) == {"sha-256": SHA_256}


def test_the_algorithms_are_those_of_hashlib() -> None:
    made = {name: hashlib.new(function, CONTENT).digest() for name, function in ALGORITHMS.items()}
    assert made == {"sha-256": SHA_256, "sha-512": SHA_512}
