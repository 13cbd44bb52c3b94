"""Forms handed over part by part; what a part is worth is the reader's choice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from quart_app.errors import BadForm, FormTooComplex
from quart_app.protocol.multipart import FormLimits
from quart_app.streaming import form_parts
from tests.e2e.clients import content, form, form_type

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.asyncio(loop_scope="function")

PARTS = [
    ('name="a"; filename="a.bin"\r\nContent-Type: image/png', content(100_000)),
    ('name="b"', b"text"),
    ('name="c"; filename=""', b""),
    ('name="d"; filename="d"', b"last"),
]
BODY = form(*PARTS)


async def stream(data: bytes, size: int = 1000) -> AsyncGenerator[bytes]:
    for start in range(0, len(data), size):
        await asyncio.sleep(0)
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 1000, len(BODY)])
async def test_parts_as_they_arrive(size: int) -> None:
    got = [
        (part.name, part.filename, part.media_type, b"".join([chunk async for chunk in part]))
        async for part in form_parts(stream(BODY, size), form_type)
    ]
    assert got == [
        ("a", "a.bin", "image/png", PARTS[0][1]),
        ("b", None, None, b"text"),
        ("c", "", None, b""),
        ("d", "d", None, b"last"),
    ]


async def test_part_is_there_before_its_content() -> None:
    fed: list[int] = []

    async def counted() -> AsyncGenerator[bytes]:
        async for chunk in stream(BODY):
            fed.append(len(chunk))
            yield chunk

    parts = form_parts(counted(), form_type)
    part = await anext(parts)
    assert (part.name, len(fed)) == ("a", 1)
    await anext(part)
    assert len(fed) == 1
    await parts.aclose()


@pytest.mark.parametrize("reads", [0, 1, 5])
async def test_what_is_left_unread_is_skipped(reads: int) -> None:
    names = []
    async for part in form_parts(stream(BODY), form_type):
        names.append(part.name)
        for _ in range(reads):
            await anext(part, b"")
    assert names == ["a", "b", "c", "d"]


async def test_part_that_ended_stays_ended() -> None:
    async for part in form_parts(stream(BODY), form_type):
        assert [chunk async for chunk in part] or part.name == "c"
        assert [chunk async for chunk in part] == []


@pytest.mark.parametrize("size", [0, 10, 100, 5000, len(BODY) - 5])
async def test_cut(size: int) -> None:
    with pytest.raises(BadForm):
        async for part in form_parts(stream(BODY[:size]), form_type):
            async for _ in part:
                pass


async def test_cut_is_told_to_who_reads_the_part() -> None:
    parts = form_parts(stream(BODY[:5000]), form_type)
    part = await anext(parts)
    with pytest.raises(BadForm):
        async for _ in part:
            pass


async def test_errors_of_the_source_pass() -> None:
    async def failing() -> AsyncGenerator[bytes]:
        yield BODY[:5000]
        raise LookupError

    with pytest.raises(LookupError):
        async for part in form_parts(failing(), form_type):
            async for _ in part:
                pass


async def test_limits() -> None:
    with pytest.raises(FormTooComplex):
        async for _ in form_parts(stream(BODY), form_type, FormLimits(max_parts=3)):
            pass


async def test_no_form() -> None:
    with pytest.raises(BadForm):
        await anext(aiter(form_parts(stream(BODY), "text/plain")))
