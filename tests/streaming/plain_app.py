"""A plain Quart application that streams by one call, for stock Hypercorn.

Its handlers do what handlers do; `SEEN` tells the test what happened inside.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import TYPE_CHECKING, Any, cast

from quart import Quart, Response, abort, request

from quart_app.errors import BodyError
from quart_app.streaming import StreamingRequest, stream_bodies
from tests.e2e.watching import watch

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

app = Quart(__name__)
# A minute in stock Quart, which cuts longer responses.
app.config["RESPONSE_TIMEOUT"] = app.config["BODY_TIMEOUT"] = 1
app.config["MAX_CONTENT_LENGTH"] = 24 * 1024 * 1024
if "STOCK" not in os.environ:
    stream_bodies(app)
app.config["DISCARD_TIMEOUT"] = 2
watch(app)


class Seen(list[str]):
    """What happened inside; said on standard output too, for when the server has ended."""

    def append(self, text: str) -> None:
        print(text, flush=True)  # noqa: T201
        super().append(text)


SEEN = Seen()

MIB = 1024 * 1024


def body() -> Any:
    return cast("StreamingRequest", request).body


@app.get("/seen")
async def seen() -> list[str]:
    return SEEN


@app.post("/paused/<float:seconds>")
async def paused(seconds: float) -> str:
    """Reads nothing for a while."""
    await asyncio.sleep(seconds)
    return hashlib.sha256(b"".join([chunk async for chunk in body()])).hexdigest()


@app.post("/early")
async def early() -> str:
    """Answers without a look at the body."""
    return "early"


@app.post("/abort")
async def aborting() -> str:
    abort(401)


@app.post("/size")
async def size() -> dict[str, int]:
    return {"size": sum([len(chunk) async for chunk in body()])}


@app.post("/cut")
async def cut() -> str:
    """Tells what the body raised."""
    SEEN.append("began")
    try:
        async for _ in body():
            pass
    except BodyError as error:
        SEEN.append(error.problem_code)
        raise
    finally:
        SEEN.append("ended")
    return "whole"


@app.get("/endless")
async def endless() -> Response:
    """A response whose generator has something to close."""

    async def chunks() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield bytes(MIB)
        finally:
            SEEN.append("generator closed")

    async def close() -> None:
        SEEN.append("resource closed")

    cast("StreamingRequest", request).resources.push_async_callback(close)
    return Response(chunks())


@app.get("/slow/<int:chunks>")
async def slow(chunks: int) -> Response:
    """Takes longer than Quart's limit on responses."""

    async def content() -> AsyncGenerator[str]:
        for number in range(chunks):
            yield f"{number}\n"
            await asyncio.sleep(0.25)

    return Response(content())


@app.post("/json")
async def as_json() -> Any:
    await request.get_data()
    return await request.get_json()


@app.post("/form")
async def as_form() -> dict[str, Any]:
    files = await request.files
    fields = dict(await request.form)
    return {"fields": fields, "files": {name: files[name].read().decode() for name in files}}


@app.post("/parts")
async def parts() -> list[list[Any]]:
    return [
        [part.name, part.filename, len(b"".join([chunk async for chunk in part]))]
        async for part in cast("StreamingRequest", request).parts()
    ]


@app.post("/echo")
async def echo() -> Response:
    """Sends the body back while it arrives."""
    arriving = body()

    async def chunks() -> AsyncGenerator[bytes]:
        async for chunk in arriving:
            yield chunk

    return Response(chunks())
