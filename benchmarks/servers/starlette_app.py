"""Starlette as a good developer writes it: the stream gathered, files written off the loop."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from werkzeug.utils import secure_filename

from benchmarks.servers.pieces import gathered
from benchmarks.servers.store import Incoming, find

if TYPE_CHECKING:
    from starlette.requests import Request

READ_SIZE = 256 * 1024


async def stored_body(request: Request) -> dict[str, Any]:
    length = request.headers.get("Content-Length")
    with Incoming(int(length) if length else None) as incoming:
        async for piece in gathered(request.stream()):
            await run_sync(incoming.write, piece)
        name = request.query_params.get("name", "unnamed")
        return await run_sync(incoming.keep, name, request.headers.get("Content-Type"))


def stored_part(source: IO[bytes], name: str, media_type: str | None) -> dict[str, Any]:
    with Incoming() as incoming:
        while chunk := source.read(READ_SIZE):
            incoming.write(chunk)
        return incoming.keep(name, media_type)


async def stored_form(request: Request) -> dict[str, Any]:
    async with request.form() as form:
        part = form["file"]
        if not isinstance(part, UploadFile):
            raise HTTPException(400, "the field 'file' is no file")
        name = secure_filename(part.filename or "") or "unnamed"
        return await run_sync(stored_part, part.file, name, part.content_type)


async def upload(request: Request) -> Response:
    is_form = request.headers.get("Content-Type", "").startswith("multipart/form-data")
    file = await (stored_form if is_form else stored_body)(request)
    return JSONResponse({"files": [file]}, 201, {"Location": file["url"]})


async def download(request: Request) -> Response:
    try:
        path, name, media_type, _ = await run_sync(find, request.path_params["file_id"])
    except LookupError:
        raise HTTPException(404) from None
    return FileResponse(path, media_type=media_type, filename=name)


app = Starlette(
    routes=[
        Route("/upload", upload, methods=["POST"]),
        Route("/files/{file_id}/{name}", download),
    ]
)
