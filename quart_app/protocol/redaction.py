"""Untrusted text made fit for a log: URLs without secrets, no control characters, bounded size."""

from __future__ import annotations

import re
from string import ascii_letters, digits, punctuation
from urllib.parse import quote

__all__ = ["MAX_LOG_TEXT_SIZE", "log_path", "log_text"]

#: Characters of a text that are logged.
MAX_LOG_TEXT_SIZE = 2048

#: Characters of a text that are examined.
_MAX_EXAMINED_SIZE = 4 * MAX_LOG_TEXT_SIZE

_GRAPHIC = ascii_letters + digits + punctuation

#: Spellings of `%` in text that was percent-encoded once, twice and three times.
_PERCENTS = ("%", "%25", "%2525")


def _secrets(percent: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile the patterns of secrets in URLs; group 1 of a match is the text to keep.

    Both take linear time: each repetition is possessive or ends at the next slash.

    Args:
        percent: Spelling of `%` in percent-encoded delimiters; "" finds literal delimiters only.

    Returns:
        Patterns of the userinfo, and of the query with the fragment.
    """

    def delimiter(literal: str, codes: str) -> str:
        return f"(?:[{literal}]|{percent}(?:{codes}))" if percent else f"[{literal}]"

    colon, slash = delimiter(":", "3a"), delimiter(r"/\\", "2f|5c")
    at, query = delimiter("@", "40"), delimiter("?#", "3f|23")
    start = f"{colon}(?:{slash})++"
    userinfo = rf"(?:(?!{slash}|{query})\S)*{at}"
    # The text behind a colon that is no port belongs to a userinfo with an unencoded delimiter.
    broken = rf"(?!\[)(?:(?!{slash}|{query}|{colon})\S)*+{colon}(?!\d*+(?:\W|\Z))\S*+"
    return (
        re.compile(f"({start})(?:{userinfo}|{broken})", re.IGNORECASE),
        re.compile(rf"({start}(?:(?!{query})\S)*+)(?:{query}\S*+)?", re.IGNORECASE),
    )


_SECRETS = [pattern for percent in ("", *_PERCENTS) for pattern in _secrets(percent)]


def log_text(text: str, size: int = MAX_LOG_TEXT_SIZE) -> str:
    r"""Return a text as a log may hold it.

    Userinfo, query and fragment of every URL in the text are dropped, also where the URL is
    percent-encoded. A character that is not printable (controls, separators of lines, bidirectional
    marks, lone surrogates) is written as an escape such as `\x1b`.

    Args:
        text: Any text.
        size: Most characters of the result; a text that is longer ends with an ellipsis.
    """
    if len(text) > _MAX_EXAMINED_SIZE:
        text = f"{text[:_MAX_EXAMINED_SIZE]}@"  # the cut may be inside a userinfo, which ends so
    if ":" in text or "%" in text:
        for pattern in _SECRETS:
            text = pattern.sub(r"\1", text)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escaped(char) for char in text)
    return text if len(text) <= size else f"{text[: size - 1]}…"


def log_path(path: bytes | str) -> str:
    """Return the path of a request target as a log may hold it: percent-encoded, see `log_text`.

    Args:
        path: As it was sent, without its query.
    """
    raw = path.encode(errors="backslashreplace") if isinstance(path, str) else path
    return log_text(quote(raw, safe=_GRAPHIC))


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
