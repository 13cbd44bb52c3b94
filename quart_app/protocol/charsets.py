"""Character encodings that clients declare, and text that arrives without a declaration."""

from __future__ import annotations

import re
from contextlib import suppress
from encodings.aliases import aliases

__all__ = ["codec_of", "decode"]

#: Codecs of text in linear time. Others that Python has (`idna`, `unicode_escape`, `utf_7`) are
#: slow, or read plain text as commands.
_CODECS = {
    "ascii", "big5", "big5hkscs", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255",
    "cp1256", "cp1257", "cp1258", "cp437", "cp850", "cp852", "cp866", "cp874", "cp932", "cp949",
    "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "iso2022_jp", "iso8859_10", "iso8859_13",
    "iso8859_14", "iso8859_15", "iso8859_16", "iso8859_2", "iso8859_3", "iso8859_4", "iso8859_5",
    "iso8859_6", "iso8859_7", "iso8859_8", "iso8859_9", "koi8_r", "koi8_u", "latin_1",
    "mac_roman", "shift_jis", "tis_620", "utf_16", "utf_16_be", "utf_16_le", "utf_8",
}  # fmt: skip

# A table of its own: `codecs.lookup` remembers every unknown label for ever.
_BY_LABEL = {name: name for name in _CODECS} | {
    alias: name for alias, name in aliases.items() if name in _CODECS
}

_SEPARATORS = re.compile(r"[^a-z0-9]+", re.ASCII)


def codec_of(label: str | None) -> str | None:
    """Return the codec for a charset label such as `ISO-8859-1`, or None where it is unknown."""
    return _BY_LABEL.get(_SEPARATORS.sub("_", (label or "").strip(" \t\"'").lower()))


def decode(data: bytes, codec: str | None = None) -> str:
    """Decode text whose encoding is not certain; every input is decoded.

    Args:
        data: Text in an encoding that extends ASCII.
        codec: Codec to try first, or None. UTF-8 follows, then the code page of Western Windows,
            which clients use without a declaration.
    """
    for candidate in (codec or "utf_8", "utf_8", "cp1252"):
        with suppress(UnicodeDecodeError):
            return data.decode(candidate)
    return data.decode("latin_1")
