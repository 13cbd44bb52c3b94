"""Forms handed over part by part, as their bytes arrive."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from quart_app.errors import BodyError
from quart_app.protocol.multipart import FormParser, PartHeader, boundary_of
from quart_app.streaming.problems import as_http_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from quart_app.protocol.multipart import Event, FormLimits

__all__ = ["Part", "checked_form", "form_parts"]


class Part:
    """One part of a form: its header, and its content as an async iterator.

    The content streams from the request, so it can be read once, before the next part.

    Attributes:
        name: Name of the form field.
        filename: Untrusted file name as sent, or None for a plain field.
        media_type: The part's `Content-Type`, or None.
    """

    def __init__(self, header: PartHeader, events: AsyncIterator[Event]) -> None:
        self.name = header.name
        self.filename = header.filename
        self.media_type = header.media_type
        self._header = header
        self._events = events
        self._ended = False

    def __aiter__(self) -> Part:
        return self

    async def __anext__(self) -> bytes:
        if not self._ended:
            event = await anext(self._events)
            if isinstance(event, bytes):
                return event
            self._ended = True
        raise StopAsyncIteration

    async def text(self) -> str:
        """Return the content as text; `FormLimits` bounds the size of a plain field.

        Raises:
            BadForm: The content is not text in the charset of the part, of the form, or UTF-8.
        """
        return self._header.text(b"".join([chunk async for chunk in self]))


async def form_parts(
    chunks: AsyncIterator[bytes], content_type: str, limits: FormLimits | None = None
) -> AsyncGenerator[Part]:
    """Walk the parts of a form; what is left unread of one is skipped.

    Args:
        chunks: The body as it arrives.
        content_type: `Content-Type` of the body, with its boundary.
        limits: Bounds on parts, headers and fields; sensible ones when None.

    Raises:
        BadForm: Not a form, malformed, truncated, or followed by more parts.
        FormTooComplex: It passes a bound.
    """
    async with aclosing(_events(chunks, content_type, limits)) as events:
        async for event in events:
            if isinstance(event, PartHeader):
                part = Part(event, events)
                yield part
                async for _ in part:
                    pass


def checked_form(
    chunks: AsyncIterator[bytes],
    content_type: str,
    limits: FormLimits | None = None,
    size: int | None = None,
) -> AsyncGenerator[bytes]:
    """Pass the bytes of a form on as they are, as long as it is one.

    Args:
        chunks: The body as it arrives.
        content_type: `Content-Type` of the body, with its boundary.
        limits: Bounds on parts, headers and fields; sensible ones when None.
        size: Declared length in bytes: the last bytes of a form that turns out to be cut are then
            not passed on.

    Raises:
        BadForm: At once when it is no form; later when it is malformed, truncated, or followed by
            more parts.
        FormTooComplex: It passes a bound.
    """
    return _checked(chunks, FormParser(boundary_of(content_type), limits), size)


async def _checked(
    chunks: AsyncIterator[bytes], parser: FormParser, size: int | None
) -> AsyncGenerator[bytes]:
    seen = 0
    async for chunk in chunks:
        for _ in parser.feed(chunk):
            pass
        seen += len(chunk)
        if seen == size:
            parser.finish()
        yield chunk
    parser.finish()


async def _events(
    chunks: AsyncIterator[bytes], content_type: str, limits: FormLimits | None
) -> AsyncGenerator[Event]:
    try:
        parser = FormParser(boundary_of(content_type), limits)
        async for chunk in chunks:
            for event in parser.feed(chunk):
                yield event
        parser.finish()
    except BodyError as error:
        raise as_http_error(error) from error.__cause__
