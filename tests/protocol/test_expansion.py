"""Tables that make much of little."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import TooExpanded
from quart_app.models import MIB
from quart_app.protocol.codecs import Bounded, CsvToNdjson, ExpansionLimit, Gzip, NdjsonToCsv
from quart_app.protocol.codecs.expansion import FREE_OUTPUT_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_app.protocol.codecs import Codec


def test_ratio_begins_past_the_free_output() -> None:
    limit = ExpansionLimit(max_ratio=2)
    limit.give(FREE_OUTPUT_SIZE)
    with pytest.raises(TooExpanded, match="more than 2 times"):
        limit.give(1)
    limit = ExpansionLimit(max_ratio=2)
    limit.take(FREE_OUTPUT_SIZE)
    limit.give(2 * FREE_OUTPUT_SIZE)
    with pytest.raises(TooExpanded, match="more than 2 times"):
        limit.give(1)


def test_size() -> None:
    limit = ExpansionLimit(max_ratio=2, max_size=10)
    limit.take(100)
    limit.give(10)
    with pytest.raises(TooExpanded, match="limit is 10 bytes"):
        limit.give(1)


NAMES = ["a" * 500_000, "b" * 500_000]
ROWS = 1000


@pytest.mark.parametrize("step", [1000, 256 * 1024, 10 * MIB])
@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (CsvToNdjson, ",".join(NAMES) + "\n" + ",\n" * ROWS),
        (NdjsonToCsv, json.dumps(dict.fromkeys(map(str, range(80_000)), "")) + "\n{}" * ROWS),
    ],
)
def test_bombs(codec: Callable[[], Codec], data: str, step: int) -> None:
    bounded = Bounded(codec(), ExpansionLimit(max_ratio=20))
    body = data.encode()
    given_out = 0
    with pytest.raises(TooExpanded):
        for start in range(0, len(body), step):
            for output in bounded.feed(body[start : start + step]):
                given_out += len(output)
    assert given_out <= 20 * len(body)


def test_nothing_else_is_changed() -> None:
    bounded, plain = Bounded(Gzip(), ExpansionLimit(max_ratio=1)), Gzip()
    for codec in (bounded, plain):
        assert b"".join(codec.feed(b"a")) == b"".join(Gzip().feed(b"a"))
    assert b"".join(bounded.flush()) == b"".join(plain.flush()) != b""
    assert b"".join(bounded.finish()) == b"".join(plain.finish()) != b""
