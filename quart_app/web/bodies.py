"""What is asked of a body before any of it is read, and said of one that is sent back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from werkzeug.datastructures import Headers

from quart_app.errors import BadRequest, TooLarge, UnsupportedEncoding
from quart_app.models import MIB
from quart_app.protocol.digests import TrailingDigests, announces_digests, declared_digests
from quart_app.protocol.headers import is_coded
from quart_app.protocol.names import inline_safe
from quart_app.streaming import Digests, chained, verified
from quart_app.web.context import JoinedFields, services

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping

    from quart_app.streaming import Part, StreamingRequest

__all__ = [
    "HARMLESS",
    "admit_form",
    "admit_raw",
    "bound",
    "file_of",
    "harmless",
    "is_form",
    "lifetime_of",
    "refuse_parts",
    "trailing_digests",
    "verified_body",
]

FORM_TYPE = "multipart/form-data"

#: What the envelope and the fields of a form may add to its files, in bytes.
FORM_OVERHEAD = 2 * MIB

MOST_SECONDS = 100 * 365 * 86_400

#: Fields that keep content of others from acting in this service's name: browsers give such a
#: document an origin of its own, without scripts, forms or pop-ups, and do not guess its type.
HARMLESS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
UNSANDBOXED = {"X-Content-Type-Options": "nosniff"}


def harmless(media_type: str | None) -> Mapping[str, str]:
    """Return the fields that keep content of a type from acting in this service's name.

    A type that runs nothing needs no sandbox. In a sandbox a video or audio file that is opened as
    a page of its own does not play, as the page's request for the bytes is cross-origin, and
    Chromium shows no PDF.

    Args:
        media_type: `Content-Type` as the client gets it, or None.
    """
    return UNSANDBOXED if inline_safe(media_type or "") else HARMLESS


def is_form(request: StreamingRequest) -> bool:
    """Tell whether the body is a form with files."""
    return request.mimetype == FORM_TYPE


async def admit_raw(request: StreamingRequest) -> None:
    """Let a raw body pass that will be kept, and bound it.

    Raises:
        UnsupportedEncoding: It has a content coding.
        TooLarge: Its declared length is over the limit.
        NoSpace: Its declared length does not fit the space that is left.
    """
    bound(request)
    await services().files.store.admit(request.content_length)


async def admit_form(request: StreamingRequest) -> None:
    """Let a form pass of which the files will be kept, and bound it; raises as `admit_raw`."""
    bound(request)
    if request.content_length is not None:
        await services().files.store.admit(max(0, request.content_length - FORM_OVERHEAD))


def bound(request: StreamingRequest) -> None:
    """Bound a body.

    Raises:
        UnsupportedEncoding: It has a content coding.
        TooLarge: Its declared length is over the limit.
    """
    limit = services().files.store.max_size + (FORM_OVERHEAD if is_form(request) else 0)
    request.body.limit_to(limit)
    if (request.content_length or 0) > limit:
        raise TooLarge(limit)
    if is_coded(JoinedFields(request.headers).get("Content-Encoding")):
        raise UnsupportedEncoding("Send the file's own bytes, without Content-Encoding.")


def verified_body(request: StreamingRequest) -> AsyncIterator[bytes]:
    """Return the body, which fails at its end if it lacks the digests that the request declares.

    A body without a declared length is hashed in any case: a digest may follow it unannounced.
    """
    declared = declared_digests(JoinedFields(request.headers))
    algorithms = ("sha-256",) if request.content_length is None else ()
    digests = Digests(*algorithms, declared=declared, trailing=trailing_digests(request))
    return verified(request.body, digests)


def trailing_digests(request: StreamingRequest) -> TrailingDigests:
    """Return the digests that may follow the body of a request."""

    def fields() -> JoinedFields:
        trailers = request.body.trailers
        return JoinedFields(
            Headers([(n.decode("latin-1"), v.decode("latin-1")) for n, v in trailers])
        )

    announced = announces_digests(JoinedFields(request.headers).get("Trailer"))
    return TrailingDigests(fields, announced)


def refuse_parts(request: StreamingRequest) -> None:
    """Refuse a body that is a part of a file: stored as a file it would be silent damage.

    Raises:
        BadRequest: The request has a `Content-Range` (RFC 9110, 14.5).
    """
    if "Content-Range" in request.headers:
        raise BadRequest("A part of a file cannot be uploaded.")


async def file_of(part: Part) -> AsyncIterable[bytes] | None:
    """Return the content of a part that is a file, and None for a file input left empty."""
    if part.filename == "":
        first = await anext(part, b"")
        return chained([first], part) if first else None
    return None if part.filename is None else part


def lifetime_of(request: StreamingRequest) -> timedelta | None:
    """Give how long the file of a request is to be kept, or None for ever.

    Raises:
        BadRequest: `Expires-In` is no number of seconds, or too large a one.
    """
    text = request.headers.get("Expires-In")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MOST_SECONDS))):
        raise BadRequest("`Expires-In` is a whole number of seconds.")
    if not 0 < int(text) <= MOST_SECONDS:
        raise BadRequest(f"`Expires-In` is from 1 to {MOST_SECONDS} seconds.")
    return timedelta(seconds=int(text))
