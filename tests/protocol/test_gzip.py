"""Gzip in and out: any cut of the input, members, padding, damage, bombs."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.errors import BadGzip, TooExpanded
from quart_app.models import MIB
from quart_app.protocol.codecs import Gunzip, Gzip
from quart_app.protocol.codecs.contract import OUTPUT_SIZE
from quart_app.protocol.codecs.expansion import FREE_OUTPUT_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_app.protocol.codecs import Codec

DATA = random.Random(0).randbytes(300_000) + bytes(3 * OUTPUT_SIZE) + b"end"


def gunzip(max_ratio: int = 10_000, max_size: int = 1024 * MIB) -> Gunzip:
    return Gunzip(max_ratio=max_ratio, max_size=max_size)


def pieces(codec: Codec, data: bytes, step: int) -> Iterator[bytes]:
    for start in range(0, len(data), step):
        yield from codec.feed(data[start : start + step])
    yield from codec.finish()


def converted(codec: Codec, data: bytes, step: int = 1_000_000) -> bytes:
    return b"".join(pieces(codec, data, step))


@given(st.binary(max_size=2000), st.integers(1, 300), st.integers(1, 300))
def test_there_and_back(data: bytes, there: int, back: int) -> None:
    packed = converted(Gzip(), data, there)
    assert gzip.decompress(packed) == data
    assert converted(gunzip(), packed, back) == data


@pytest.mark.parametrize("step", [1000, 65_536, 10 * MIB])
def test_large(step: int) -> None:
    packed = converted(Gzip(), DATA, step)
    assert gzip.decompress(packed) == DATA
    got = list(pieces(gunzip(), packed, step))
    assert b"".join(got) == DATA
    assert max(map(len, got)) <= OUTPUT_SIZE


def test_output_comes_before_the_input_ends() -> None:
    codec = Gzip()
    unpacking = gunzip()
    list(codec.flush())
    for data in (b"first", b"second"):
        packed = b"".join([*codec.feed(data), *codec.flush()])
        assert b"".join(unpacking.feed(packed)) == data
        assert list(codec.flush()) == []  # which costs nothing when nothing is held


def test_same_input_gives_the_same_bytes() -> None:
    assert converted(Gzip(), DATA) == converted(Gzip(), DATA)


@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_members_and_padding(step: int) -> None:
    packed = (
        gzip.compress(b"one", mtime=0)
        + gzip.compress(b"", mtime=0)
        + gzip.compress(b"two" * 1000, mtime=0)
    )
    for padding in (b"", b"\0", bytes(1000)):
        assert converted(gunzip(), packed + padding, step) == b"one" + b"two" * 1000


@pytest.mark.parametrize("step", [1, 100_000])
@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\0",
        b"no gzip",
        b"\0" + gzip.compress(b"a", mtime=0),
        zlib.compress(b"a" * 1000),
        gzip.compress(b"a" * 1000, mtime=0)[:-1],
        gzip.compress(b"a" * 1000, mtime=0)[:5],
        gzip.compress(b"a" * 1000, mtime=0)[:-8] + b"12345678",
        gzip.compress(b"a", mtime=0) + b"junk",
        gzip.compress(b"a", mtime=0) + gzip.compress(b"b", mtime=0)[:8],
    ],
)
def test_damage(damaged: bytes, step: int) -> None:
    with pytest.raises(BadGzip):
        converted(gunzip(), damaged, step)


class TestBombs:
    BOMB = gzip.compress(bytes(FREE_OUTPUT_SIZE + MIB))

    @pytest.mark.parametrize("step", [100, 1_000_000])
    def test_ratio(self, step: int) -> None:
        given_out = 0
        with pytest.raises(TooExpanded):
            for piece in pieces(gunzip(max_ratio=100), self.BOMB, step):
                given_out += len(piece)
        assert given_out <= FREE_OUTPUT_SIZE

    def test_many_small_ones(self) -> None:
        with pytest.raises(TooExpanded):
            converted(gunzip(max_ratio=100), gzip.compress(bytes(MIB)) * 40)

    @pytest.mark.parametrize("step", [100, 1_000_000])
    def test_size(self, step: int) -> None:
        with pytest.raises(TooExpanded):
            converted(gunzip(max_size=FREE_OUTPUT_SIZE), self.BOMB, step)
        whole = converted(gunzip(max_size=FREE_OUTPUT_SIZE + MIB), self.BOMB, step)
        assert len(whole) == FREE_OUTPUT_SIZE + MIB

    def test_a_little_of_one_letter_is_none(self) -> None:
        data = bytes(FREE_OUTPUT_SIZE)
        assert converted(gunzip(max_ratio=1), gzip.compress(data, mtime=0)) == data

    def test_what_a_few_bytes_hold_comes_in_pieces(self) -> None:
        first = next(gunzip().feed(self.BOMB))
        assert len(first) == OUTPUT_SIZE
