"""WebSocket handshakes that end: accepted, or refused and closed."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from hypercorn.protocol.events import Body, Data, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from wsproto.frame_protocol import CloseReason

from quart_app.protocol.problems import PROBLEM_TYPE, status_problem
from quart_app.protocol.targets import BadTarget
from quart_app.server.scopes import resolved

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.protocol.events import Event
    from hypercorn.typing import AppWrapper, ASGIReceiveCallable, ASGISendEvent

__all__ = ["HANDSHAKE_SECONDS", "WebSocket"]

#: Time within which the application answers a handshake, and the client takes a refusal.
HANDSHAKE_SECONDS = 10.0


class WebSocket(WSStream):
    """Hypercorn's WebSocket stream, whose handshake ends within a bounded time.

    Stock Hypercorn leaves the stream of a refused handshake open for ever where the client has sent
    a byte behind it, or where the application goes on after its refusal, and waits without end for
    an application that does not answer.
    """

    scope: Any

    def __init__(self, app: AppWrapper, *args: Any) -> None:
        super().__init__(cast("AppWrapper", partial(self._run, app)), *args)
        self._pass_on = self.send
        self.send = self._send_on
        self._deadline: asyncio.TimerHandle | None = None
        self._is_early = False

    @property
    def is_cut(self) -> bool:
        """Whether a refusal has begun and is not complete."""
        return self.state is ASGIWebsocketState.RESPONSE

    async def handle(self, event: Event) -> None:
        """Handle what the connection has received; data before the handshake is over refuses it."""
        if isinstance(event, Request):
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(HANDSHAKE_SECONDS, self._spawn_refusal, 503)
        elif isinstance(event, Body | Data) and not self.handshake.accepted:
            # The client waits for the answer (RFC 6455, 4.1).
            if not self._is_early:
                self._is_early = True
                self._spawn_refusal(HTTPStatus.BAD_REQUEST)
            return
        elif isinstance(event, StreamClosed) and self._deadline is not None:
            self._deadline.cancel()
        await super().handle(event)

    async def _run(
        self,
        app: AppWrapper,
        scope: Any,
        receive: ASGIReceiveCallable,
        send: Callable[[ASGISendEvent], Awaitable[None]],
        *bridges: Any,
    ) -> None:
        try:
            scope.update(resolved(scope))
        except BadTarget as error:
            await self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            await app(scope, receive, send, *bridges)

    def _spawn_refusal(self, status: int) -> None:
        # A task of its own, as a client that does not read may make the refusal wait, and the
        # connection is read from meanwhile.
        if not self.closed and not self.handshake.accepted:
            self.task_group.spawn(self._refuse, status)

    async def _refuse(self, status: int, detail: str = "") -> None:
        """End the handshake, whatever the application does later."""
        if self.closed or self.handshake.accepted:
            return
        if self.state is not ASGIWebsocketState.HANDSHAKE:  # a refusal is under way
            if status == HTTPStatus.SERVICE_UNAVAILABLE:
                await self.send(StreamClosed(stream_id=self.stream_id))
            return
        self.closed = True
        if self.app_put is not None:
            code = CloseReason.ABNORMAL_CLOSURE.value
            await self.app_put({"type": "websocket.disconnect", "code": code})
        await self._send_problem(status, detail)

    async def _send_error_response(self, status_code: int) -> None:
        if self.app_put is None:  # refused without the application
            self.task_group.spawn(self._send_problem, status_code)
        else:
            await self._send_problem(status_code)

    async def _send_problem(self, status: int, detail: str = "") -> None:
        problem = status_problem(status, detail)
        headers = [
            (b"content-type", PROBLEM_TYPE.encode()),
            (b"content-length", b"%d" % len(problem)),
        ]
        if self.scope["http_version"] != "2":
            headers.append((b"connection", b"close"))
        stream_id = self.stream_id
        await self.send(Response(stream_id=stream_id, status_code=status, headers=headers))
        await self.send(Body(stream_id=stream_id, data=problem))
        await self.send(EndBody(stream_id=stream_id))

    async def _send_on(self, event: Event) -> None:
        """Send, and close the stream behind a refusal: nothing more comes."""
        if isinstance(event, StreamClosed) and self.closed:
            return
        await self._pass_on(event)
        if isinstance(event, EndBody):
            await self._pass_on(StreamClosed(stream_id=self.stream_id))
