"""Bytes of other servers and to other servers, streamed through."""

from __future__ import annotations

from contextlib import asynccontextmanager
from posixpath import basename
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from quart_app.errors import LoopDetected, NoTarget, UpstreamFailed
from quart_app.protocol.forwarding import (
    answer_of_origin,
    answer_of_target,
    request_to_origin,
    request_to_target,
    value_of,
)
from quart_app.protocol.headers import as_utf8, is_coded
from quart_app.protocol.names import display_name, parse_disposition_name, stated_media_type
from quart_app.services.files import Upload

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping
    from datetime import timedelta

    from quart_app.models import File
    from quart_app.protocol.forwarding import Fields
    from quart_app.services.files import Files
    from quart_app.upstream import Answer, Client

__all__ = ["Relaying"]

#: Answers that hold a file: as the server has it, or as a proxy has changed it.
WHOLE = {200, 203}

DEFAULT_TARGET = "default"


class Relaying:
    """Fetches what a client names, and passes on to where the operator says.

    Args:
        origins: Asks servers that clients name; its policy keeps to public ones.
        destinations: Asks servers that the operator has configured.
        targets: Their URLs by name; the one called `default`, or else the first, goes without.
        files: Keeps what is fetched.
        pseudonym: What this service calls itself in `Via`, unlike any other.
    """

    def __init__(
        self,
        origins: Client,
        destinations: Client,
        targets: Mapping[str, str],
        files: Files,
        *,
        pseudonym: str,
    ) -> None:
        self._origins = origins
        self._destinations = destinations
        self._targets = targets
        self._files = files
        self._pseudonym = pseudonym

    @asynccontextmanager
    async def open(self, method: str, url: str, fields: Fields) -> AsyncIterator[Answer]:
        """Ask for a remote file.

        Args:
            method: `GET` or `HEAD`.
            url: Absolute URL.
            fields: Of the client's request; what asks for a form, a part or a condition is passed.

        Yields:
            The answer; of its fields only what describes the file.

        Raises:
            BadUrl: The URL is none of the web, or holds credentials.
            BlockedAddress: It, or a redirect, leads where it must not.
            LoopDetected: The request comes from this service itself.
            UpstreamFailed: The server cannot be had, or gives no proper answer.
            UpstreamTimeout: It is too slow.
        """
        asked = self._asking(request_to_origin(fields), fields)
        async with self._origins.ask(method, url, asked, follow_redirects=True) as answer:
            yield answer.passing_on(answer_of_origin(answer.fields))

    async def fetch(
        self, url: str, name: str | None, fields: Fields, lifetime: timedelta | None = None
    ) -> File:
        """Store a remote file.

        Args:
            url: Absolute URL.
            name: Display name; else what the server calls it, else the end of the URL.
            fields: Of the client's request, which may have been here before.
            lifetime: How long the file is kept, or None for ever.

        Raises:
            TooLarge: It passes the limit.
            NoSpace: It does not fit the space that is left.
            UpstreamFailed: As `open` raises; also when the server does not answer 200, when the
                file is cut, or comes in a content coding, whose bytes are not the file's own.
        """
        asked = [("Accept-Encoding", "identity"), self._via(fields)]
        async with self._origins.ask("GET", url, asked, follow_redirects=True) as answer:
            size = _whole_size(answer)
            await self._files.store.admit(size)
            shown = display_name(name or _name_of(answer))
            kind = stated_media_type(value_of(answer.fields, "content-type"))
            return await self._files.add_one(Upload(answer.chunks, shown, kind, lifetime=lifetime))

    @asynccontextmanager
    async def send_on(
        self,
        target: str | None,
        query: str,
        fields: Fields,
        body: AsyncIterable[bytes],
        size: int | None,
    ) -> AsyncIterator[Answer]:
        """Send a body on to a target, at the pace of both sides.

        Args:
            target: Name, or None for the default.
            query: What the client asks with, without its question mark.
            fields: Of the client's request.
            body: Its bytes; what reading them raises, this raises.
            size: Declared length in bytes, or None.

        Yields:
            The answer, which may come before the body has been sent.

        Raises:
            NoTarget: There is none of this name.
            LoopDetected: The request comes from this service itself.
            UpstreamFailed: The target is down or broken.
            UpstreamTimeout: It takes or sends nothing for too long.
        """
        url = self._target_url(target, query)
        sent = self._asking(request_to_target(fields), fields)
        if size is not None:
            sent.append(("Content-Length", str(size)))
        async with self._destinations.ask("POST", url, sent, body) as answer:
            yield answer.passing_on(answer_of_target(answer.fields))

    def _target_url(self, name: str | None, query: str) -> str:
        if name is None and self._targets:
            name = DEFAULT_TARGET if DEFAULT_TARGET in self._targets else next(iter(self._targets))
        url = self._targets.get(name or "")
        if url is None:
            raise NoTarget
        if not query:
            return url
        return f"{url}{'&' if '?' in url else '?'}{query}"

    def _asking(self, chosen: Fields, fields: Fields) -> Fields:
        """Add to the fields that are passed on what every request of ours says."""
        coding = value_of(chosen, "accept-encoding") or "identity"
        others = [field for field in chosen if field[0].lower() != "accept-encoding"]
        return [*others, ("Accept-Encoding", coding), self._via(fields)]

    def _via(self, fields: Fields) -> tuple[str, str]:
        """Extend the way a request has come (RFC 9110, 7.6.3)."""
        way = value_of(fields, "via")
        if way is not None and self._pseudonym in way:
            raise LoopDetected
        here = f"1.1 {self._pseudonym}"
        return "Via", here if way is None else f"{way}, {here}"


def _whole_size(answer: Answer) -> int | None:
    """Give the declared length of an answer that holds a file."""
    if answer.status not in WHOLE:
        raise UpstreamFailed(f"The other server answered {answer.status}.")
    if is_coded(value_of(answer.fields, "content-encoding")):
        raise UpstreamFailed("The other server sends the file only in a content coding.")
    size = value_of(answer_of_origin(answer.fields), "content-length")
    return int(size) if size and size.isascii() and size.isdecimal() else None


def _name_of(answer: Answer) -> str:
    disposition = value_of(answer.fields, "content-disposition") or ""
    return parse_disposition_name(as_utf8(disposition)) or basename(
        unquote(urlsplit(answer.url).path).rstrip("/")
    )
