"""aiohttp as a good developer writes it: forms read part by part, files written off the loop.

With `--asyncio` it runs on that loop, whose `sendfile` uvloop lacks.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import TYPE_CHECKING, Any

import uvloop
from aiohttp import BodyPartReader, web
from werkzeug.utils import secure_filename

from benchmarks.servers.pieces import PIECE_SIZE, gathered
from benchmarks.servers.store import Incoming, find

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

routes = web.RouteTableDef()


async def parts_chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(PIECE_SIZE):
        yield chunk


async def stored(
    chunks: AsyncIterator[bytes], length: int | None, name: str, media_type: str | None
) -> dict[str, Any]:
    with Incoming(length) as incoming:
        async for piece in gathered(chunks):
            await asyncio.to_thread(incoming.write, piece)
        return await asyncio.to_thread(incoming.keep, name, media_type)


async def stored_form(request: web.Request) -> dict[str, Any]:
    part = await (await request.multipart()).next()
    if not isinstance(part, BodyPartReader):
        raise web.HTTPBadRequest
    name = secure_filename(part.filename or "") or "unnamed"
    return await stored(parts_chunks(part), None, name, part.headers.get("Content-Type"))


@routes.post("/upload")
async def upload(request: web.Request) -> web.Response:
    if request.content_type == "multipart/form-data":
        file = await stored_form(request)
    else:
        name = request.query.get("name", "unnamed")
        chunks = request.content.iter_any()
        file = await stored(chunks, request.content_length, name, request.content_type)
    return web.json_response({"files": [file]}, status=201, headers={"Location": file["url"]})


@routes.get("/files/{file_id}/{name}")
async def download(request: web.Request) -> web.StreamResponse:
    try:
        path, name, media_type, _ = await asyncio.to_thread(find, request.match_info["file_id"])
    except LookupError:
        raise web.HTTPNotFound from None
    disposition = f'attachment; filename="{name}"'
    headers = {"Content-Type": media_type, "Content-Disposition": disposition}
    return web.FileResponse(path, headers=headers)


if __name__ == "__main__":
    app = web.Application()
    app.add_routes(routes)
    listener = socket.create_server(("127.0.0.1", 0))
    new_loop = asyncio.new_event_loop if "--asyncio" in sys.argv else uvloop.new_event_loop
    web.run_app(app, sock=listener, access_log=None, loop=new_loop())
