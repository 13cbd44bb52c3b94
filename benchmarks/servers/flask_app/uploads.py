"""Files on their way in: a raw body, or the parts of a form."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, request
from werkzeug.routing import BaseConverter

from benchmarks.servers.flask_app.bodies import (
    body,
    form_body,
    form_parts,
    is_form,
    refuse_coding,
    verified,
)
from benchmarks.servers.flask_app.representation import file_json
from benchmarks.servers.flask_app.settings import FORM_OVERHEAD
from benchmarks.servers.flask_app.storage import Upload, admit, store
from quart_app.errors import BadForm, BadRequest
from quart_app.protocol.digests import declared_digests
from quart_app.protocol.headers import as_utf8
from quart_app.protocol.names import display_name, parse_disposition_name, stated_media_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quart_app.models import File

    Answer = tuple[dict[str, Any], int, dict[str, str]]

uploads = Blueprint("uploads", __name__)

MOST_SECONDS = 100 * 365 * 86_400


class FileName(BaseConverter):
    """Whatever a client calls a file, line feeds and leading slashes included."""

    regex = r"(?s:.+)"
    part_isolating = False


@uploads.post("/upload")
def upload() -> Answer:
    refuse_coding()
    return _store_form() if is_form() else _store_raw(request.args.get("name"))


@uploads.put("/upload", defaults={"name": None})
@uploads.put("/upload/<name:name>")
def put(name: str | None) -> Answer:
    refuse_coding()
    if "Content-Range" in request.headers:
        # RFC 9110, 14.5: storing a part as if it were the whole would be silent damage.
        raise BadRequest("A part of a file cannot be put.")
    return _store_raw(name)


def _store_raw(name: str | None) -> Answer:
    admit(request.content_length)
    disposition = as_utf8(request.headers.get("Content-Disposition", ""))
    return _created(
        store(
            [
                Upload(
                    chunks=body(),
                    name=display_name(name or parse_disposition_name(disposition)),
                    media_type=stated_media_type(request.headers.get("Content-Type")),
                    digests=declared_digests(request.headers),
                    lifetime=lifetime(),
                )
            ]
        )
    )


def _store_form() -> Answer:
    if request.content_length is not None:
        admit(max(0, request.content_length - FORM_OVERHEAD))
    fields: dict[str, list[str]] = {}
    return _created(store(_form_uploads(fields)), fields=fields)


def _form_uploads(fields: dict[str, list[str]]) -> Iterator[Upload]:
    kept_for, digests = lifetime(), declared_digests(request.headers)
    found = 0
    for part in form_parts(verified(form_body(), digests), request.headers["Content-Type"]):
        if part.header.filename is None:
            fields.setdefault(part.header.name, []).append(part.text())
            continue
        if (chunks := part.file()) is None:
            continue
        found += 1
        name = display_name(part.header.filename)
        yield Upload(chunks, name, stated_media_type(part.header.media_type), lifetime=kept_for)
    if not found:
        raise BadForm("The form has no file.")


def lifetime() -> timedelta | None:
    text = request.headers.get("Expires-In")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_SECONDS))):
        raise BadRequest("`Expires-In` is a whole number of seconds.")
    if not 0 < int(text) <= MOST_SECONDS:
        raise BadRequest(f"`Expires-In` is from 1 to {MOST_SECONDS} seconds.")
    return timedelta(seconds=int(text))


def _created(stored: list[File], **more: Any) -> Answer:
    described = [file_json(file) for file in stored]
    return {"files": described, **more}, 201, {"Location": described[0]["url"]}
