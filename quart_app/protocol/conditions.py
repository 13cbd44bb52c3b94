"""Conditional requests (RFC 9110, 13) and the dates in them (5.6.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum, auto
from typing import TYPE_CHECKING

from quart_app.errors import PreconditionFailed

if TYPE_CHECKING:
    from quart_app.models import File
    from quart_app.protocol.headers import Headers

__all__ = [
    "Outcome",
    "Validators",
    "evaluate",
    "http_date",
    "parse_http_date",
    "range_allowed",
    "validators_of",
]

_ENTITY_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')

_NAME, _YEAR, _TIME = "[A-Z][a-z]{2}", "[1-9][0-9]{3}", "[0-9]{2}:[0-9]{2}:[0-9]{2}"
_HTTP_DATE = re.compile(
    rf"{_NAME}, [0-9]{{2}} {_NAME} {_YEAR} {_TIME} GMT"
    rf"|[A-Z][a-z]{{5,8}}, [0-9]{{2}}-{_NAME}-[0-9]{{2}} {_TIME} GMT"
    rf"|{_NAME} {_NAME} [0-9 ][0-9] {_TIME} {_YEAR}"
)


@dataclass(frozen=True, slots=True)
class Validators:
    """Validators of a file (RFC 9110, 8.8).

    Attributes:
        etag: Strong entity tag, with its quotes.
        last_modified: Aware moment of the last change; fields carry its whole seconds.
    """

    etag: str
    last_modified: datetime


def validators_of(file: File, now: datetime) -> Validators:
    """Return the validators of a file.

    `last_modified` is never later than `now`, even if the clock was set back after the upload
    (RFC 9110, 8.8.2.1). The field and the conditions use the same moment.

    Args:
        file: The file, which never changes: its digest identifies its only state.
        now: Current moment.
    """
    return Validators(f'"{file.sha256}"', min(file.created_at, now))


class Outcome(Enum):
    """What the conditions of a request ask for."""

    PROCEED = auto()
    NOT_MODIFIED = auto()


def evaluate(method: str, headers: Headers, validators: Validators) -> Outcome:
    """Weigh the conditions of a request for an existing file, in the order of RFC 9110, 13.2.2.

    Args:
        method: Request method, in upper case.
        headers: Fields of the request.
        validators: Those of the file as it is now.

    Raises:
        PreconditionFailed: The method must not be carried out.
    """
    reads = method in {"GET", "HEAD"}
    if (tags := headers.get("If-Match")) is not None:
        if not _lists(tags, validators.etag, weak=False):
            raise PreconditionFailed
    elif _changed_since(headers.get("If-Unmodified-Since"), validators) is True:
        raise PreconditionFailed
    if (tags := headers.get("If-None-Match")) is not None:
        if _lists(tags, validators.etag, weak=True):
            if reads:
                return Outcome.NOT_MODIFIED
            raise PreconditionFailed
    elif reads and _changed_since(headers.get("If-Modified-Since"), validators) is False:
        return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def range_allowed(if_range: str | None, validators: Validators) -> bool:
    """Tell whether `Range` counts, given `If-Range` (RFC 9110, 13.1.5).

    A date must be that of `Last-Modified`, to the second. It counts as a strong validator
    whatever its age: a stored file never changes, so it cannot have changed twice within that
    second (RFC 9110, 8.8.2.2).

    Args:
        if_range: The field, or None when the request has none.
        validators: Those of the file as it is now.
    """
    if if_range is None or if_range.strip(" \t") == validators.etag:
        return True
    return parse_http_date(if_range) == _whole_seconds(validators.last_modified)


def http_date(moment: datetime) -> str:
    """Format an aware moment as IMF-fixdate (RFC 9110, 5.6.7); fractions of a second go."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def parse_http_date(text: str) -> datetime | None:
    """Read a date in any of the three forms of RFC 9110, 5.6.7.

    Two-digit years from 69 on belong to the 20th century, as in POSIX.

    Returns:
        The moment in UTC, or None when the text is no such date.
    """
    if not _HTTP_DATE.fullmatch(text.strip(" \t")):
        return None
    try:
        return parsedate_to_datetime(text).replace(tzinfo=UTC)
    except ValueError:
        return None


def _lists(tags: str, etag: str, *, weak: bool) -> bool:
    """Compare a field of entity tags, weakly or strongly (RFC 9110, 8.8.3.2)."""
    return tags.strip(" \t") == "*" or any(
        tag == etag and (weak or not mark) for mark, tag in _ENTITY_TAG.findall(tags)
    )


def _changed_since(date: str | None, validators: Validators) -> bool | None:
    """Return None where there is no valid date, so that the condition is ignored."""
    moment = parse_http_date(date or "")
    return None if moment is None else _whole_seconds(validators.last_modified) > moment


def _whole_seconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)
