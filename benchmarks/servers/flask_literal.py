"""The example that people copy, 4 KiB at a time: no digest, no fsync, no catalog.

It does less than the other contenders. Two things had to be repaired for it to run at all: its
view answers, where the example returns None, and each upload has a file of its own.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any

from flask import Flask, Response, request, send_from_directory

FILES = Path(os.environ["BENCHMARK_DATA"])

app = Flask(__name__)


@app.post("/upload")
def upload() -> tuple[dict[str, Any], int]:
    name = uuid.uuid4().hex
    with (FILES / name).open("wb") as file:
        while True:
            chunk = request.stream.read(4096)
            if len(chunk) == 0:
                break
            file.write(chunk)
    return {"files": [{"id": name, "url": f"/files/{name}"}]}, 201


@app.get("/files/<name>")
def download(name: str) -> Response:
    return send_from_directory(FILES, name)
