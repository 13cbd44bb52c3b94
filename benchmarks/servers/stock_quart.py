"""Quart as its documentation shows it, with the limits off that would cut large transfers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from quart import Quart, Response, abort, request, send_file
from werkzeug.utils import secure_filename

from benchmarks.servers.store import Incoming, find

if TYPE_CHECKING:
    from quart.datastructures import FileStorage

READ_SIZE = 256 * 1024

app = Quart(__name__)
app.config.update(MAX_CONTENT_LENGTH=None, BODY_TIMEOUT=None, RESPONSE_TIMEOUT=None)


async def stored_body() -> dict[str, Any]:
    with Incoming(request.content_length) as incoming:
        async for chunk in request.body:
            await asyncio.to_thread(incoming.write, chunk)
        name = request.args.get("name", "unnamed")
        return await asyncio.to_thread(incoming.keep, name, request.mimetype)


def stored_part(part: FileStorage) -> dict[str, Any]:
    with Incoming() as incoming:
        while chunk := part.stream.read(READ_SIZE):
            incoming.write(chunk)
        return incoming.keep(secure_filename(part.filename or "") or "unnamed", part.mimetype)


@app.post("/upload")
async def upload() -> tuple[dict[str, Any], int, dict[str, str]]:
    if request.mimetype == "multipart/form-data":
        file = await asyncio.to_thread(stored_part, (await request.files)["file"])
    else:
        file = await stored_body()
    return {"files": [file]}, 201, {"Location": file["url"]}


@app.get("/files/<file_id>/<name>")
async def download(file_id: str, name: str) -> Response:
    try:
        path, name, media_type, _ = await asyncio.to_thread(find, file_id)
    except LookupError:
        abort(404)
    return await send_file(path, media_type, as_attachment=True, attachment_filename=name)
