"""What waits for an application."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from quart_app.server.inbox import Inbox

if TYPE_CHECKING:
    from hypercorn.typing import ASGIReceiveEvent

pytestmark = pytest.mark.asyncio(loop_scope="function")


def body(data: bytes, *, more: bool = True) -> ASGIReceiveEvent:
    message = {"type": "http.request", "body": data, "more_body": more}
    return cast("ASGIReceiveEvent", message)


async def test_bytes_that_wait_are_put_together() -> None:
    """Each would hold some 600 bytes by itself, and clients may send a body byte by byte."""
    inbox, taken = Inbox(), list[int]()
    inbox.taken = taken.append
    for _ in range(100_000):
        inbox.push(body(b"x"), 1)
    inbox.push(body(b"", more=False))
    received = [await inbox.get()]
    while received[-1]["more_body"]:  # type: ignore[typeddict-item]
        received.append(await inbox.get())
    assert [len(message["body"]) for message in received] == [64 * 1024, 34_464, 0]  # type: ignore[typeddict-item]
    assert taken == [64 * 1024, 34_464]


async def test_nothing_waits_for_an_application_that_has_returned() -> None:
    inbox, taken = Inbox(), list[int]()
    inbox.taken = taken.append
    inbox.push(body(b"abc"), 3)
    inbox.close()
    await inbox.put(body(bytes(1024 * 1024)))
    inbox.push(body(b"x"), 1)
    assert taken == [3, 1]
