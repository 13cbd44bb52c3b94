"""A bare ASGI application: what a server does shows without a framework between.

`RUNNING` holds what has not returned; `SEEN` what applications saw, for tests to ask for.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from hypercorn.middleware import ProxyFixMiddleware

from tests.e2e.watching import watched_loop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Receive = Callable[[], Awaitable[Any]]
    Send = Callable[[Any], Awaitable[None]]

__all__ = ["ASKED_FOR", "app"]

KIB = 1024

#: What the application says when it fails because a test asked it to.
ASKED_FOR = "failing as the test asked"

RUNNING: list[str] = []
SEEN: list[str] = []
RELEASED = asyncio.Event()


async def app(scope: Any, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    query = dict(parse_qsl(scope["query_string"].decode()))
    RUNNING.append(scope["path"])
    try:
        await HANDLERS[scope["path"]](scope, query, receive, send)
    finally:
        RUNNING.remove(scope["path"])


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    with watched_loop():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _answer_json(send: Send, found: object, status: int = 200) -> None:
    await _answer(send, status, json.dumps(found).encode())


async def _state(_: Any, __: Any, ___: Receive, send: Send) -> None:
    await _answer_json(send, {"running": [path for path in RUNNING if path != "/state"],
                              "seen": SEEN, "pid": os.getpid()})  # fmt: skip


async def _refuse(_: Any, query: dict[str, str], __: Receive, send: Send) -> None:
    """Answers without a look at the body, perhaps after `after` seconds."""
    await asyncio.sleep(float(query.get("after", 0)))
    await _answer(send, 413, bytes(int(query.get("size", 0))))


async def _read(_: Any, query: dict[str, str], receive: Receive, send: Send) -> None:
    """Reads all, perhaps after `after` seconds, and tells what it was."""
    await asyncio.sleep(float(query.get("after", 0)))
    digest, size = hashlib.sha256(), 0
    message: dict[str, Any] = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            SEEN.append(f"disconnect, half closed: {message.get('half_closed', False)}")
            return
        digest.update(message["body"])
        size += len(message["body"])
    trailers = [[n.decode(), v.decode()] for n, v in message.get("trailers", [])]
    await _answer_json(
        send, {"size": size, "sha256": digest.hexdigest(), "trailers": trailers}, 201
    )


async def _hold(_: Any, __: Any, receive: Receive, send: Send) -> None:
    """Reads nothing and answers nothing until it is released."""
    await RELEASED.wait()


async def _wait_until_gone(scope: Any, __: Any, ___: Receive, ____: Send) -> None:
    """Reads nothing, and waits until the server says that the client is gone."""
    SEEN.append("waiting")
    await scope["extensions"]["quart_app.server"].gone.wait()
    SEEN.append("gone")


async def _block(_: Any, query: dict[str, str], __: Receive, ___: Send) -> None:
    time.sleep(float(query["seconds"]))  # as a fault would


async def _release(_: Any, __: Any, ___: Receive, send: Send) -> None:
    RELEASED.set()
    await asyncio.sleep(0)
    RELEASED.clear()
    await _answer(send, 200, b"")


async def _drip(_: Any, query: dict[str, str], receive: Receive, send: Send) -> None:
    """Sends `count` lines, one each `pause` seconds, while the client is there."""
    gone = asyncio.ensure_future(_disconnected(receive))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(int(query["count"])):
        line = b"%d\n" % number
        await send({"type": "http.response.body", "body": line, "more_body": True})
        await asyncio.wait({gone}, timeout=float(query.get("pause", 0.1)))
        if gone.done():
            return
    gone.cancel()
    await send({"type": "http.response.body", "body": b""})


async def _events(_: Any, query: dict[str, str], receive: Receive, send: Send) -> None:
    """Sends `count` events at once, and has nothing more to send while the client is there."""
    if "count" in query:
        await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(int(query.get("count", 0))):
        line = b"data: %d\n\n" % number
        await send({"type": "http.response.body", "body": line, "more_body": True})
    SEEN.append("waiting")
    await _disconnected(receive)


async def _disconnected(receive: Receive) -> None:
    while (message := await receive())["type"] != "http.disconnect":
        pass
    SEEN.append(f"disconnect, half closed: {message.get('half_closed', False)}")


async def _bytes(_: Any, query: dict[str, str], __: Receive, send: Send) -> None:
    """Sends `size` bytes."""
    left = int(query["size"])
    length = (b"content-length", b"%d" % left)
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    while left:
        piece = bytes(min(left, 64 * KIB))
        left -= len(piece)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _file(scope: Any, query: dict[str, str], __: Receive, send: Send) -> None:
    """Sends a part of the file at `path` by the kernel, between a word before and one after."""
    assert "http.response.zerocopysend" in scope["extensions"]
    offset, count = int(query["offset"]), int(query["count"])
    headers = [] if "chunked" in query else [(b"content-length", b"%d" % (count + 11))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"before", "more_body": True})
    with open(query["path"], "rb") as file:  # noqa: PTH123
        part = {"type": "http.response.zerocopysend", "file": file.fileno(), "offset": offset}
        try:
            await send({**part, "count": count, "more_body": True})
        except OSError as error:
            SEEN.append(type(error).__name__)
            raise RuntimeError(ASKED_FOR) from error
    await send({"type": "http.response.body", "body": b"after"})


async def _proxied(scope: Any, _: dict[str, str], receive: Receive, send: Send) -> None:
    """Answers with the facts of a scope that a middleware has copied."""

    async def describe(scope: Any, receive: Any, send: Any) -> None:
        ours = scope["extensions"].get("quart_app.server")
        found = {"client": scope["client"][0], "state": sorted(scope["state"]),
                 "unsent": ours and ours.unsent()}  # fmt: skip
        if scope["type"] == "http":
            await _answer_json(send, found)
        else:
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": json.dumps(found)})
            await send({"type": "websocket.close"})

    await ProxyFixMiddleware(describe)(scope, receive, send)


async def _extensions(scope: Any, _: dict[str, str], __: Receive, send: Send) -> None:
    await _answer_json(send, sorted(scope["extensions"]))


async def _fail(_: Any, query: dict[str, str], __: Receive, send: Send) -> None:
    """Fails before its answer, or within it."""
    if "start" in query:
        headers = [(b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
    SEEN.append("failed")
    raise RuntimeError(ASKED_FOR)


async def _interim(scope: Any, query: dict[str, str], receive: Receive, send: Send) -> None:
    """Sends an interim answer by the best means that the server has, then reads and answers."""
    status, headers = int(query["status"]), [(b"x-number", b"1")]
    abilities = scope["extensions"].get("quart_app.server")
    if query.get("hint"):
        await send({"type": "http.response.early_hint", "links": [b"</a>; rel=preload"]})
    elif abilities is not None:
        assert abilities.interim
        message = {"type": "http.response.interim", "status": status, "headers": headers}
        await send(message)
    else:
        await send({"type": "http.response.start", "status": status, "headers": headers})
    await _read(scope, {}, receive, send)


async def _accept(_: Any, __: dict[str, str], receive: Receive, send: Send) -> None:
    """Accepts a WebSocket, and sends every message back."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def _shake(_: Any, query: dict[str, str], receive: Receive, send: Send) -> None:
    """Refuses a WebSocket in the way asked for, or does not answer, until its client is gone."""
    if query["how"] == "close":
        await send({"type": "websocket.close"})
    elif query["how"] != "never":
        headers = [(b"content-length", b"6")]
        start = {"type": "websocket.http.response.start", "status": 404, "headers": headers}
        await send(start)
        more = query["how"] == "half"
        body = b"no" if more else b"no way"
        await send({"type": "websocket.http.response.body", "body": body, "more_body": more})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def _scope(scope: Any, __: dict[str, str], ___: Receive, send: Send) -> None:
    """Tells of the resource that was asked for."""
    members = {name: scope[name] for name in ("method", "path", "http_version")}
    hosts = [value.decode() for name, value in scope["headers"] if name == b"host"]
    raw = {"raw_path": scope["raw_path"].decode(), "query": scope["query_string"].decode()}
    await _answer_json(send, {**members, **raw, "hosts": hosts})


async def _exit(_: Any, query: dict[str, str], __: Receive, ___: Send) -> None:
    os._exit(int(query["code"]))


async def _stop_when_busy(_: Any, __: dict[str, str], ___: Receive, send: Send) -> None:
    """Tells the process to stop at the moment that a thousand threads wake the loop."""
    loop = asyncio.get_running_loop()
    for _ in range(1000):
        loop.call_soon_threadsafe(lambda: None)
    os.kill(os.getpid(), signal.SIGTERM)
    await _answer(send, 200, b"")


HANDLERS: dict[str, Callable[[Any, dict[str, str], Receive, Send], Awaitable[None]]] = {
    "/block": _block,
    "/accept": _accept,
    "/bytes": _bytes,
    "/drip": _drip,
    "/events": _events,
    "/exit": _exit,
    "/extensions": _extensions,
    "/fail": _fail,
    "/gone": _wait_until_gone,
    "/file": _file,
    "/hold": _hold,
    "/interim": _interim,
    "/proxied": _proxied,
    "/read": _read,
    "/refuse": _refuse,
    "/release": _release,
    "/scope": _scope,
    "/shake": _shake,
    "/state": _state,
    "/stop-when-busy": _stop_when_busy,
}
