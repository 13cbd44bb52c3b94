"""Hypercorn's trio worker in a process whose asyncio worker has this project's layer."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import h2.connection
import hypercorn.trio
import pytest
import trio
from h2.events import DataReceived, StreamEnded
from hypercorn.config import Config

from quart_app.server.seams import SEAMS, fix_hypercorn

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    for module_name, name, _ in SEAMS:
        module = importlib.import_module(module_name)
        monkeypatch.setattr(module, name, getattr(module, name))
    fix_hypercorn()


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message["body"], message["more_body"]
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body + b" on trio"})


def serve(client: Any) -> Any:
    """Serves the application to a client, and gives the client's result."""

    async def main() -> Any:
        config = Config()
        config.bind, config.accesslog = ["127.0.0.1:0"], None
        stop = trio.Event()

        async def served(task_status: Any) -> None:
            framework = cast("ASGIFramework", app)
            await hypercorn.trio.serve(
                framework, config, shutdown_trigger=stop.wait, task_status=task_status
            )

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                [address] = await nursery.start(served)
                port = int(address.rpartition(":")[2])
                stream = await trio.open_tcp_stream("127.0.0.1", port)
                async with stream:
                    found = await client(stream)
                stop.set()
        return found

    return trio.run(main)


async def over_http1(stream: trio.SocketStream) -> bytes:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
    await stream.send_all(head)
    answer = b""
    while b"on trio" not in answer:
        piece = await stream.receive_some(4096)
        assert piece, answer
        answer += piece
    return answer


async def over_http2(stream: trio.SocketStream) -> bytes:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    pseudo = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "x")]
    client.send_headers(1, pseudo)
    client.send_data(1, b"abc", end_stream=True)
    answer = b""
    while True:
        await stream.send_all(client.data_to_send())
        piece = await stream.receive_some(4096)
        assert piece, answer
        for event in client.receive_data(piece):
            if isinstance(event, DataReceived):
                answer += event.data
            elif isinstance(event, StreamEnded):
                return answer


def test_serves_http1() -> None:
    assert b"abc on trio" in serve(over_http1)


def test_serves_http2() -> None:
    assert serve(over_http2) == b"abc on trio"
