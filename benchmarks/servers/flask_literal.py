"""The examples that people copy, as they are: 4 KiB at a time, no digest, no fsync, no catalog.

This is the "before" of `flask_app`, from public texts on files in Flask. It does less than the
other contenders, and what is wrong with it is left wrong, where it says so. Repaired is only what
kept it from running at all: its upload answers, where the example returns None, and each upload
has a file of its own, where the example writes all to one path.
"""

from __future__ import annotations

import mmap
import os
import uuid
from io import BytesIO, StringIO
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import TYPE_CHECKING, Any, cast

import requests
from flask import Flask, Response, request, send_from_directory
from werkzeug.utils import secure_filename

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = Path(os.environ["BENCHMARK_DATA"])
DESTINATION = os.environ.get("LITERAL_DESTINATION", "http://127.0.0.1:8001/upload")

app = Flask(__name__)


@app.post("/upload")
def upload() -> tuple[dict[str, Any], int]:
    """A form goes to the file as it is, boundaries and all; a cut upload leaves a cut file."""
    name = uuid.uuid4().hex
    with (FILES / name).open("wb") as file:
        while True:
            chunk = request.stream.read(4096)
            if len(chunk) == 0:
                break
            file.write(chunk)
    return {"files": [{"id": name, "url": f"/files/{name}"}]}, 201


@app.post("/form")
def form_upload() -> tuple[dict[str, Any], int]:
    """The file is written twice, and the second of a name overwrites the first."""
    sent = request.files["file"]
    name = secure_filename(sent.filename or "")
    sent.save(FILES / name)
    return {"files": [{"id": name, "url": f"/files/{name}"}]}, 201


@app.get("/files/<name>")
def download(name: str) -> Response:
    return send_from_directory(FILES, name)


@app.get("/<path:url>")
def fetch(url: str) -> Response:
    """Whatever URL it is is asked; status, length, range and query get lost.

    The example leaves the chunks to `requests`, which makes them one byte each.
    """
    remote = requests.get(url, stream=True)  # the example waits for ever
    return Response(remote.iter_content(), content_type=remote.headers["Content-Type"])


@app.post("/proxy")
def proxy() -> str:
    """The stream is read into memory whole, and sent on as a form in which a form may be."""
    body = cast("Any", request.stream)
    requests.post(DESTINATION, files={"file": body})
    return "done"


@app.get("/read_data")
@app.post("/read_data")
def read_data() -> Response:
    """What was sent is held whole, and held again by each of the three ways to read it."""
    ways: dict[str, Callable[[bytes], bytes | str]] = {
        "bytesio": through_memory,
        "stringio": through_text,
        "tempfile": through_temporary_file,
        "mmap": through_mapped_file,
    }
    return Response(ways[request.args.get("via", "bytesio")](request.get_data()))


def through_memory(data: bytes) -> bytes:
    return BytesIO(data).read()


def through_text(data: bytes) -> str:
    return StringIO(data.decode()).read()


def through_temporary_file(data: bytes) -> bytes:
    with TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return file.read()


def through_mapped_file(data: bytes) -> bytes:
    """The file stays for ever if anything fails between its creation and its removal."""
    with NamedTemporaryFile(delete=False) as file:
        file.write(data)
    with (
        Path(file.name).open("rb") as source,
        mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        content = mapped.read()
    Path(file.name).unlink()
    return content
