"""One request and its answer, whichever version of HTTP carries them."""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from hypercorn.protocol.events import EndBody, InformationalResponse, Request, StreamClosed
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream

from quart_app.protocol.problems import PROBLEM_TYPE, status_problem
from quart_app.protocol.targets import BadTarget
from quart_app.server.inbox import Inbox
from quart_app.server.scopes import resolved
from quart_app.server.sendfile import CAN_SEND_FILES, FileBody, Sending
from quart_app.streaming import SERVER_EXTENSION, ZERO_COPY, ServerAbilities

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from hypercorn.protocol.events import Event
    from hypercorn.typing import AppWrapper, ASGIReceiveCallable, ASGIReceiveEvent, ASGISendEvent

__all__ = ["ConnectionState", "Stream"]

CONTINUE = 100
EARLY_HINTS = 103

#: Versions that know interim answers.
INTERIM_VERSIONS = {"1.1", "2"}


class ConnectionState(dict[str, Any]):
    """The state of the application's lifespan, with the facts of one connection as attributes.

    Hypercorn passes this object to the protocols of the connection. Applications receive a plain
    copy of its items (`scope["state"]`), which has none of the attributes.

    Attributes:
        gone: Set once the client is disconnected; its bytes may still wait to be read.
        unsent: Returns the bytes written to the connection that its client has not acknowledged.
    """

    def __init__(
        self, state: Mapping[str, Any], gone: asyncio.Event, unsent: Callable[[], int]
    ) -> None:
        super().__init__(state)
        self.gone = gone
        self.unsent = unsent


class Stream(HTTPStream):
    """Hypercorn's stream, with what the ASGI specification leaves out.

    - A request that names no resource is refused without the application, and `OPTIONS *` is
      answered without it. A target in absolute form is brought into origin form.
    - `Expect: 100-continue` is answered when the application first receives, so that one that
      refuses at once is sent no body (RFC 9110, 10.1.1).
    - `{"type": "http.response.interim", "status": 103, "headers": […]}` sends an interim answer
      (1xx) before the answer; `http.response.early_hint` works on HTTP/1.1 too.
    - `{"type": "http.response.zerocopysend", "file": descriptor, "offset": …, "count": …,
      "more_body": …}` sends a part of a file from the kernel, where the extension is offered: on
      HTTP/1 without TLS. `file` stays open until the message is sent, which then has the bytes that
      went out as `sent`, all or not.
    - The last `http.request` message of a body carries the request's trailers, if there are any, as
      `"trailers": [(name, value), …]`.
    - `scope["extensions"]["quart_app.server"]` holds `ServerAbilities`.

    Attributes:
        complete: Whether the request has arrived whole.
        ended: Set once the client sends nothing more, though it may still read.
        gone: Set once the stream is closed; the client of the whole connection is gone if None.
        inbox: What waits for the application.
        trailers: Trailers of the request.
        unsent: Gives the bytes of the answer that wait to be sent; of the whole connection if None.
    """

    scope: Any

    def __init__(self, app: AppWrapper, *args: Any) -> None:
        super().__init__(cast("AppWrapper", partial(self._run, app)), *args)
        self.complete = False
        self.ended = asyncio.Event()
        self.gone: asyncio.Event | None = None
        self.inbox = Inbox()
        self.trailers: list[tuple[bytes, bytes]] = []
        self.unsent: Callable[[], int] | None = None
        self._expecting = False

    async def handle(self, event: Event) -> None:
        """Take what the connection has received."""
        if isinstance(event, Request):
            await self._begin(event)
        elif isinstance(event, EndBody) and not self.closed:
            self.complete = True
            message = {"type": "http.request", "body": b"", "more_body": False}
            self.inbox.push(cast("ASGIReceiveEvent", message | self._trailing()))
        else:
            if isinstance(event, StreamClosed) and self.gone is not None:
                self.gone.set()
            await super().handle(event)

    async def _begin(self, event: Request) -> None:
        expect = [value for name, value in event.headers if name.lower() == b"expect"]
        self._expecting = event.http_version in INTERIM_VERSIONS and any(
            value.lower() == b"100-continue" for value in expect
        )
        self._connection = cast("ConnectionState", event.state)
        await super().handle(event)
        self.app_put = self.inbox.put

    def cut(self) -> None:
        """Tell the application that the client sends no more, though it may still read."""
        message = {"type": "http.disconnect", "half_closed": True}
        self.inbox.push(cast("ASGIReceiveEvent", message))

    def _trailing(self) -> dict[str, Any]:
        return {"trailers": self.trailers} if self.trailers else {}

    async def _run(
        self,
        app: AppWrapper,
        scope: Any,
        _: ASGIReceiveCallable,
        send: Callable[[ASGISendEvent], Awaitable[None]],
        *bridges: Any,
    ) -> None:
        extensions, version = scope["extensions"], scope["http_version"]
        if version in INTERIM_VERSIONS:
            extensions["http.response.early_hint"] = {}
        if CAN_SEND_FILES and scope["scheme"] == "http" and version != "2":
            extensions[ZERO_COPY] = {}
        extensions[SERVER_EXTENSION] = ServerAbilities(
            unsent=self.unsent or self._connection.unsent,
            interim=version in INTERIM_VERSIONS,
            awaits_reading=self._expecting,
            ended=self.ended,
            gone=self.gone or self._connection.gone,
        )
        try:
            if not await self._answered(scope):
                await app(scope, self._receive, send, *bridges)
        finally:
            self.inbox.close()

    async def _answered(self, scope: Any) -> bool:
        """Answer what concerns no application, and bring the target into origin form.

        Returns:
            Whether the request is answered: its target is malformed, or the whole server.
        """
        try:
            scope.update(resolved(scope))
        except BadTarget as error:
            await self._answer(HTTPStatus.BAD_REQUEST, status_problem(400, str(error)))
            return True
        if scope["raw_path"] == b"*":
            await self._answer(HTTPStatus.OK)
            return True
        return False

    async def _answer(self, status: int, problem: bytes = b"") -> None:
        """Answer in place of the application."""
        headers = [(b"content-length", b"%d" % len(problem))]
        if problem:
            headers.append((b"content-type", PROBLEM_TYPE.encode()))
        if problem or not self.complete:
            headers += self._closing_headers()
        await self.app_send({"type": "http.response.start", "status": status, "headers": headers})
        await self.app_send({"type": "http.response.body", "body": problem})

    async def _receive(self) -> ASGIReceiveEvent:
        if self._expecting and self.state is ASGIHTTPState.REQUEST:
            self._expecting = False
            await self._send_interim(CONTINUE, [])
        return await self.inbox.get()

    async def app_send(self, message: Any) -> None:
        """Send what the application says; see the class for what it may say."""
        kind = message and message["type"]
        if kind == "http.response.interim":
            await self._send_interim(message["status"], message["headers"])
        elif kind == ZERO_COPY:
            await self._send_file(message)
        elif kind == "http.response.early_hint":
            links = [(b"link", bytes(link).strip()) for link in message["links"]]
            await self._send_interim(EARLY_HINTS, links)
        else:
            if kind == "http.response.start" and self._expecting and not self.complete:
                # Whether the body comes all the same, nobody can tell (RFC 9110, 10.1.1).
                closing = [*message.get("headers", []), *self._closing_headers()]
                message = {**message, "headers": closing}
            await super().app_send(message)

    async def _send_file(self, message: dict[str, Any]) -> None:
        file = Sending(message["file"], message["offset"], message["count"])
        try:
            if self.state is ASGIHTTPState.RESPONSE and self.scope["method"] != "HEAD":
                await self.send(FileBody(self.stream_id, file))
        finally:
            message["sent"] = file.sent
        more = message.get("more_body", False)
        await super().app_send({"type": "http.response.body", "body": b"", "more_body": more})

    def _closing_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"connection", b"close")] if self.scope["http_version"] == "1.1" else []

    async def _send_interim(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        if self.state is ASGIHTTPState.REQUEST and self.scope["http_version"] in INTERIM_VERSIONS:
            event = InformationalResponse(
                stream_id=self.stream_id, headers=list(headers), status_code=status
            )
            await self.send(event)
