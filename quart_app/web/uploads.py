"""Files on their way in: a raw body, or the parts of a form."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, jsonify

from quart_app.errors import BadForm, BadRequest
from quart_app.protocol.digests import declared_digests
from quart_app.protocol.headers import as_utf8
from quart_app.protocol.names import display_name, parse_disposition_name, stated_media_type
from quart_app.services import Upload
from quart_app.streaming import form_parts
from quart_app.web.bodies import (
    admit_form,
    admit_raw,
    file_of,
    is_form,
    lifetime_of,
    verified_body,
)
from quart_app.web.context import JoinedFields, services, streaming_request
from quart_app.web.representation import file_json
from quart_app.web.routing import add_converters

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from quart_app.models import File
    from quart_app.streaming import Part, StreamingRequest

__all__ = ["uploads"]

uploads = Blueprint("uploads", __name__)
uploads.record(add_converters)


@uploads.post("/upload")
async def upload() -> Response:
    """Store the raw body, or every file of the form."""
    request = streaming_request()
    if is_form(request):
        return await _store_form(request)
    return await _store_raw(request, request.args.get("name"))


@uploads.put("/upload", defaults={"name": None})
@uploads.put("/upload/<name:name>")
async def put(name: str | None) -> Response:
    """Store the raw body under a name, as `curl -T` sends it."""
    request = streaming_request()
    if "Content-Range" in request.headers:
        # RFC 9110, 14.5: storing a part as if it were the whole would be silent damage.
        raise BadRequest("A part of a file cannot be put.")
    return await _store_raw(request, name)


async def _store_raw(request: StreamingRequest, name: str | None) -> Response:
    await admit_raw(request)
    disposition = as_utf8(request.headers.get("Content-Disposition", ""))
    raw_name = name or parse_disposition_name(disposition)
    kept = await services().files.add_one(
        Upload(
            chunks=request.body,
            name=display_name(raw_name),
            media_type=stated_media_type(request.headers.get("Content-Type")),
            digests=declared_digests(JoinedFields(request.headers)),
            lifetime=lifetime_of(request),
        )
    )
    return _created([kept])


async def _store_form(request: StreamingRequest) -> Response:
    await admit_form(request)
    fields: dict[str, list[str]] = {}
    async with aclosing(_form_uploads(request, fields)) as found:
        kept = await services().files.add(found)
    return _created(kept, fields=fields)


async def _form_uploads(
    request: StreamingRequest, fields: dict[str, list[str]]
) -> AsyncGenerator[Upload]:
    lifetime, content_type = lifetime_of(request), request.headers["Content-Type"]
    found, limits = 0, services().form_limits
    async with aclosing(form_parts(verified_body(request), content_type, limits)) as parts:
        async for part in parts:
            if part.filename is None:
                fields.setdefault(part.name, []).append(await _text(part))
            elif (chunks := await file_of(part)) is not None:
                found += 1
                yield Upload(
                    chunks,
                    display_name(part.filename),
                    stated_media_type(part.media_type),
                    lifetime=lifetime,
                )
    if not found:
        raise BadForm("The form has no file.")


async def _text(part: Part) -> str:
    try:
        return b"".join([chunk async for chunk in part]).decode()
    except UnicodeDecodeError as error:
        raise BadForm("A field is not UTF-8.") from error


def _created(kept: list[File], **more: Any) -> Response:
    described = [file_json(file) for file in kept]
    response = jsonify({"files": described, **more})
    response.status_code = 201
    response.headers["Location"] = described[0]["url"]
    return response
