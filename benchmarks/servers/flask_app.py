"""Flask as a good sync developer writes it: large reads, `send_file`, names never trusted."""

from __future__ import annotations

from typing import IO, Any

from flask import Flask, Response, abort, request, send_file
from werkzeug.utils import secure_filename

from benchmarks.servers.store import Incoming, find

READ_SIZE = 256 * 1024

app = Flask(__name__)


def stored(source: IO[bytes], length: int | None, name: str, media_type: str) -> dict[str, Any]:
    with Incoming(length) as incoming:
        while chunk := source.read(READ_SIZE):
            incoming.write(chunk)
        return incoming.keep(name, media_type)


@app.post("/upload")
def upload() -> tuple[dict[str, Any], int, dict[str, str]]:
    if request.mimetype == "multipart/form-data":
        part = request.files["file"]
        name = secure_filename(part.filename or "") or "unnamed"
        file = stored(part.stream, None, name, part.mimetype)
    else:
        name = request.args.get("name", "unnamed")
        file = stored(request.stream, request.content_length, name, request.mimetype)
    return {"files": [file]}, 201, {"Location": file["url"]}


@app.get("/files/<file_id>/<name>")
def download(file_id: str, name: str) -> Response:
    try:
        path, name, media_type, sha256 = find(file_id)
    except LookupError:
        abort(404)
    return send_file(path, media_type, as_attachment=True, download_name=name, etag=sha256)
