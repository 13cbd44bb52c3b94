"""What is asked of a body before any of it is read, and said of one that is sent back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart_app.errors import TooLarge, UnsupportedEncoding
from quart_app.models import MIB
from quart_app.web.context import JoinedFields, services

if TYPE_CHECKING:
    from quart_app.streaming import StreamingRequest

__all__ = ["HARMLESS", "admit_form", "admit_raw", "bound", "is_form"]

FORM_TYPE = "multipart/form-data"

#: What the envelope and the fields of a form may add to its files, in bytes.
FORM_OVERHEAD = 2 * MIB

#: What a page of another site has its visitors' browsers post must not run as one of ours.
HARMLESS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}


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
    """Bound a body that will not be kept.

    Raises:
        UnsupportedEncoding: It has a content coding.
        TooLarge: Its declared length is over the limit.
    """
    limit = services().files.store.max_size + (FORM_OVERHEAD if is_form(request) else 0)
    request.body.limit_to(limit)
    if (request.content_length or 0) > limit:
        raise TooLarge(limit)
    codings = JoinedFields(request.headers).get("Content-Encoding") or "identity"
    if {coding.strip().lower() for coding in codings.split(",")} - {"identity", ""}:
        raise UnsupportedEncoding("Send the file's own bytes, without Content-Encoding.")
