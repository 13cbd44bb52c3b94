"""An application of somebody else's with `stream_bodies`: Quart's ways of reading and of errors."""

from __future__ import annotations

import asyncio
from itertools import permutations
from typing import TYPE_CHECKING, Any, cast

import pytest
from quart import Blueprint, Quart, Request, Response, request
from quart.asgi import ASGIHTTPConnection
from quart.wrappers.request import Body
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    HTTPException,
    RequestEntityTooLarge,
    RequestTimeout,
)

from quart_app.errors import BadForm, BodyError, TooLarge
from quart_app.streaming import RequestBody, StreamingRequest, stream_bodies

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

pytestmark = pytest.mark.asyncio(loop_scope="function")

BOUNDARY = "b0undary"

MULTIPART = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\nfile\r\n'
    f"--{BOUNDARY}--\r\n"
).encode()

KINDS = {
    "application/json": b'{"a": 1}',
    "application/x-www-form-urlencoded": b"a=1&b=%C3%BC",
    f"multipart/form-data; boundary={BOUNDARY}": MULTIPART,
    "application/octet-stream": bytes(range(256)) * 4096,
}


def streaming(app: Quart | None = None) -> Quart:
    app = app or Quart("embedding")
    stream_bodies(app)
    return app


async def whole() -> bytes:
    return cast("bytes", await request.get_data())


async def iterated() -> bytes:
    return b"".join([chunk async for chunk in request.body])


async def files() -> dict[str, bytes]:
    found = await request.files
    return {name: await asyncio.to_thread(_content, file) for name, file in found.items()}


def _content(file: Any) -> bytes:
    file.seek(0)
    return cast("bytes", file.read())


async def parts() -> list[tuple[str, bytes]]:
    return [
        (part.name, b"".join([chunk async for chunk in part]))
        async for part in cast("StreamingRequest", request).parts()
    ]


#: Ways to read a body.
WAYS: dict[str, Callable[[], Awaitable[Any]]] = {
    "get_data": whole,
    "as_text": lambda: request.get_data(as_text=True),
    "awaited": lambda: cast("Any", request.body),
    "iterated": iterated,
    "get_json": lambda: request.get_json(force=True, silent=True),
    "form": lambda: cast("Any", request.form),
    "values": lambda: cast("Any", request.values),
    "files": files,
}


#: Those of them that need text.
TEXT = ("as_text", "get_json")


def read_in_order(names: tuple[str, ...]) -> Quart:
    """An application that keeps the result of every way in its extensions."""
    app = streaming()

    @app.post("/")
    async def read() -> str:
        app.extensions["read"] = {name: await WAYS[name]() for name in names}
        return ""

    return app


async def results(names: tuple[str, ...], kind: str) -> dict[str, Any]:
    app = read_in_order(names)
    headers = {"Content-Type": kind}
    response = await app.test_client().post("/", data=KINDS[kind], headers=headers)
    assert response.status_code == 200, await response.get_data()
    return cast("dict[str, Any]", app.extensions["read"])


class TestWaysOfReading:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.partition(";")[0])
    @pytest.mark.parametrize("first", ["get_data", "awaited"])
    async def test_after_the_whole_was_read(self, kind: str, first: str) -> None:
        """Each gives the same as alone, in every order."""
        names = [name for name in WAYS if "octet" not in kind or name not in TEXT]
        alone = {name: (await results((name,), kind))[name] for name in names}
        assert alone["get_data"] == KINDS[kind]
        others = [name for name in names if name != first]
        for order in list(permutations(others))[::197]:
            assert await results((first, *order), kind) == alone

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.partition(";")[0])
    async def test_data_after_the_whole_was_read(self, kind: str) -> None:
        app = streaming()

        @app.post("/")
        async def read() -> str:
            assert await request.get_data() == KINDS[kind]
            assert await request.data == KINDS[kind]
            return ""

        headers = {"Content-Type": kind}
        response = await app.test_client().post("/", data=KINDS[kind], headers=headers)
        assert response.status_code == 200

    async def test_parts_after_data(self) -> None:
        app = streaming()

        @app.post("/")
        async def read() -> list[Any]:
            assert await request.get_data() == MULTIPART
            return [[name, content.decode()] for name, content in await parts()]

        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        response = await app.test_client().post("/", data=MULTIPART, headers=headers)
        assert await response.get_json() == [["a", "1"], ["f", "file"]]

    async def test_cleared_where_quart_says_so(self) -> None:
        app = streaming()

        @app.post("/")
        async def read() -> str:
            assert await request.get_data(cache=False) == b"abc"
            assert await request.get_data() == b""
            return ""

        assert (await app.test_client().post("/", data=b"abc")).status_code == 200

    async def test_in_a_test_request_context(self) -> None:
        app = streaming()
        async with app.test_request_context("/", method="POST", json={"a": 1}):
            assert await request.get_data() == b'{"a": 1}'
            assert await request.get_json() == {"a": 1}


class TestReadingAtOnce:
    def body(self, *chunks: bytes) -> RequestBody:
        body = RequestBody(None, None)
        for chunk in chunks:
            body.append(chunk)
        return body

    async def cancelled(self, body: RequestBody) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cast("Any", body), 0.01)

    @pytest.mark.parametrize("way", ["awaited", "iterated"])
    async def test_cancelled_read_loses_nothing(self, way: str) -> None:
        body = self.body(b"ab", b"c")
        await self.cancelled(body)
        body.append(b"d")
        await self.cancelled(body)
        body.append(b"e")
        body.set_complete()
        if way == "awaited":
            assert await body == b"abcde"
        assert b"".join([chunk async for chunk in body]) == b"abcde"

    async def test_error_after_a_cancelled_read(self) -> None:
        body = self.body(b"ab")
        await self.cancelled(body)
        body.append(b"c")
        body.fail(TooLarge(1))
        read = b""
        with pytest.raises(TooLarge):
            async for chunk in body:
                read += chunk
        assert read == b"abc"

    @pytest.mark.parametrize("clears", [False, True])
    async def test_several_tasks(self, clears: bool) -> None:
        body = self.body(b"ab")

        async def read() -> bytes:
            content = await body
            if clears:
                body.clear()
            return content

        tasks = [asyncio.ensure_future(read()) for _ in range(3)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        await asyncio.sleep(0)
        body.append(b"c")
        body.set_complete()
        assert await asyncio.gather(*tasks[1:]) == [b"abc"] * 2

    async def test_iteration_that_had_begun(self) -> None:
        body = self.body(b"ab", b"c")
        body.set_complete()
        begun = aiter(body)
        assert await body == b"abc"
        assert [chunk async for chunk in begun] == [b"abc"]
        assert await body == b"abc"


def too_large(app: Quart) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 3


async def send(app: Quart, *, disconnect: bool = False, silent: bool = False) -> Any:
    """Sends a body of 4 bytes that is too large, is cut, or never comes."""

    @app.post("/")
    async def read() -> str:
        return str(len(await request.get_data()))

    client = app.test_client()
    headers = {"Content-Length": "4"}
    async with client.request("/", method="POST", headers=headers) as connection:
        if disconnect:
            await connection.send(b"ab")
            await connection.disconnect()
        elif not silent:
            await connection.send(b"abcd")
            await connection.send_complete()
        else:
            app.config["DISCARD_TIMEOUT"] = 0.01
    return await connection.as_response()


class TestErrors:
    @pytest.mark.parametrize("handled", [413, RequestEntityTooLarge, HTTPException, Exception,
                                         TooLarge, BodyError])  # fmt: skip
    @pytest.mark.parametrize("first", [False, True])
    async def test_too_large(self, handled: Any, first: bool) -> None:
        """The application's handler answers, whether it came before the call or after."""
        app = Quart("embedding")
        seen: list[Exception] = []

        async def own(error: Exception) -> tuple[str, int]:
            seen.append(error)
            return "own", cast("int", cast("Any", error).code)

        if first:
            app.register_error_handler(handled, own)
        streaming(app)
        if not first:
            app.register_error_handler(handled, own)
        too_large(app)
        response = await send(app)
        assert (response.status_code, await response.get_data()) == (413, b"own")
        assert isinstance(seen[0], RequestEntityTooLarge)

    @pytest.mark.parametrize("caught", [RequestEntityTooLarge, HTTPException, TooLarge])
    async def test_caught_in_a_handler(self, caught: type[Exception]) -> None:
        app = streaming()
        too_large(app)

        @app.post("/form")
        async def form() -> Any:
            try:
                return dict(await request.form)
            except caught as error:
                return {"code": cast("HTTPException", error).code}, 400

        response = await app.test_client().post("/form", form={"a": "123"})
        assert (response.status_code, await response.get_json()) == (400, {"code": 413})

    async def test_returned_as_a_response(self) -> None:
        app = streaming()
        too_large(app)

        @app.errorhandler(HTTPException)
        async def as_it_is(error: HTTPException) -> HTTPException:
            return error

        response = await send(app)
        assert (response.status_code, (await response.get_json())["code"]) == (413, "too_large")

    async def test_without_a_handler(self) -> None:
        app = streaming()
        too_large(app)
        response = await send(app)
        assert response.mimetype == "application/problem+json"
        assert (response.status_code, (await response.get_json())["code"]) == (413, "too_large")

    async def test_handler_of_a_blueprint(self) -> None:
        app, part = Quart("embedding"), Blueprint("part", "embedding")

        @part.post("/size")
        async def size() -> str:
            return str(len(await request.get_data()))

        @part.errorhandler(HTTPException)
        async def own(error: HTTPException) -> tuple[str, int]:
            return "of the blueprint", error.code or 0

        app.register_blueprint(part)
        streaming(app)
        too_large(app)
        response = await app.test_client().post("/size", data=b"abcd")
        assert (response.status_code, await response.get_data()) == (413, b"of the blueprint")

    @pytest.mark.parametrize("handled", [408, RequestTimeout, HTTPException])
    async def test_stalled(self, handled: Any) -> None:
        app = streaming()
        app.config["STALL_TIMEOUT"] = 0.05

        @app.errorhandler(handled)
        async def own(error: HTTPException) -> tuple[str, int]:
            return "own", error.code or 0

        response = await send(app, silent=True)
        assert (response.status_code, await response.get_data()) == (408, b"own")

    @pytest.mark.parametrize("handled", [400, BadRequest, ClientDisconnected, HTTPException])
    async def test_disconnected(self, handled: Any) -> None:
        app, seen = streaming(), list[int | None]()

        @app.errorhandler(handled)
        async def own(error: HTTPException) -> str:
            seen.append(error.code)
            return "own"

        await send(app, disconnect=True)
        assert seen == [400]

    @pytest.mark.parametrize("caught", [BadRequest, BadForm])
    async def test_malformed_form(self, caught: type[Exception]) -> None:
        app = streaming()

        @app.post("/")
        async def read() -> str:
            with pytest.raises(caught):
                await parts()
            return "caught"

        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        response = await app.test_client().post("/", data=MULTIPART[:-9], headers=headers)
        assert await response.get_data() == b"caught"


class OwnRequest(Request):
    """A request class as applications have it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.begun = True

    @property
    def parts(self) -> str:
        return "of the application"


class TestRequestClass:
    @pytest.mark.parametrize("first", [False, True])
    async def test_is_combined(self, first: bool) -> None:
        app = Quart("embedding")
        if first:
            app.request_class = OwnRequest
        streaming(app)
        if not first:
            app.request_class = OwnRequest
        seen: list[Any] = []

        @app.post("/")
        async def read() -> str:
            own = cast("Any", request)._get_current_object()
            seen.extend([own.begun, own.parts, isinstance(own, OwnRequest), type(own.body)])
            return (await whole()).decode()

        for _ in range(2):
            response = await app.test_client().post("/", data=b"abc")
            assert await response.get_data() == b"abc"
        assert seen == [True, "of the application", True, RequestBody] * 2
        assert app.request_class.__name__ == "OwnRequest"

    async def test_of_this_package(self) -> None:
        class Mine(StreamingRequest):
            pass

        app = Quart("embedding")
        app.request_class = Mine
        streaming(app)
        assert app.request_class is Mine

    async def test_with_a_body_of_its_own_is_refused(self) -> None:
        class OwnBody(Body):
            pass

        class Own(Request):
            body_class = OwnBody

        app = Quart("embedding")
        app.request_class = Own
        with pytest.raises(TypeError, match=r"body_class of .*Own is not derived from"):
            stream_bodies(app)

    async def test_of_another_kind_is_refused(self) -> None:
        app = Quart("embedding")
        app.request_class = dict  # type: ignore[assignment]
        with pytest.raises(TypeError, match=r"request_class dict is not derived from"):
            stream_bodies(app)

    async def test_connection_class_is_refused(self) -> None:
        class Own(ASGIHTTPConnection):
            pass

        app = Quart("embedding")
        app.asgi_http_class = Own
        with pytest.raises(TypeError, match=r"Own is no base of StreamingConnection"):
            stream_bodies(app)


class TestTestClient:
    async def test_sees_the_content_of_an_answer_to_head(self) -> None:
        app = streaming()

        @app.route("/", methods=["GET", "HEAD"])
        async def echo() -> str:
            return request.method

        client = app.test_client()
        assert await (await client.head("/")).get_data() == b"HEAD"
        assert await (await client.get("/")).get_data() == b"GET"

    async def test_head_does_not_read_a_stream(self) -> None:
        app = streaming()

        @app.route("/", methods=["HEAD"])
        async def endless() -> Response:
            async def chunks() -> AsyncGenerator[bytes]:
                while True:
                    yield b"x"

            return Response(chunks())

        assert (await app.test_client().head("/")).status_code == 200
