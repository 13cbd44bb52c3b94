"""Text as it arrives: UTF-8 cut anywhere."""

from __future__ import annotations

import codecs
import re

from quart_app.errors import NotText

__all__ = ["LineCounter", "TextDecoder", "is_utf8", "spreadsheet_cell"]

#: Valid UTF-8, and yet another coding: NUL as in UTF-16, and the escapes of ISO-2022.
_OTHER_CODING = re.compile(rb"\x00|\x1b[$()]")

#: Places before a formula. East Asian versions of Excel run full-width signs too.
_FORMULA = re.compile(r"(?:^|(?<=;))(?=['=+\-@\t\r\n＝＋－＠])")


def is_utf8(data: bytes, *, complete: bool = True) -> bool:
    """Return whether the bytes are text in UTF-8.

    Args:
        data: The text or its beginning.
        complete: Whether the text ends here; else the last character may be cut.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=complete)
    except UnicodeDecodeError:
        return False
    return _OTHER_CODING.search(data) is None


def spreadsheet_cell(text: str) -> str:
    """Escape a cell of CSV that a spreadsheet would run as a formula (OWASP, "CSV Injection").

    An apostrophe goes before a character that begins a formula, and before an apostrophe, so that
    its removal at the same places restores the text. The places are the beginning of the cell and
    each semicolon: spreadsheets of many locales separate cells there.
    """
    return _FORMULA.sub("'", text)


class LineCounter:
    """Counts the lines of what is UTF-8 throughout; feed it all, then call `finish`.

    A line ends with a line feed; the last may lack it.
    """

    def __init__(self) -> None:
        self._count: int | None = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._open = False

    def feed(self, chunk: bytes) -> None:
        """See the next bytes."""
        if self._count is None or not chunk:
            return
        try:
            self._decoder.decode(chunk)
        except UnicodeDecodeError:
            self._count = None
        else:
            self._count += chunk.count(b"\n")
            self._open = not chunk.endswith(b"\n")

    def finish(self) -> int | None:
        """Give the lines, or None for what is no UTF-8."""
        if self._count is None:
            return None
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return None
        return self._count + self._open


class TextDecoder:
    """Decodes UTF-8 as it arrives, without a byte order mark at its beginning.

    Raises:
        NotText: From any call, where it is no UTF-8.
    """

    def __init__(self) -> None:
        # That of `utf-8-sig` takes a mark that is cut for the end of a text.
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._begun = False

    def decode(self, data: bytes, *, final: bool = False) -> str:
        """Decode the next bytes; a character that is cut waits for its rest.

        Args:
            data: The next bytes.
            final: Whether they are the last.
        """
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            raise NotText from error
        if text and not self._begun:
            self._begun = True
            return text.removeprefix("\ufeff")
        return text
