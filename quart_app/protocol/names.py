"""File names and media types, as untrusted clients send them and as they are shown."""

from __future__ import annotations

import re
from mimetypes import MimeTypes
from posixpath import splitext
from types import MappingProxyType
from unicodedata import normalize
from urllib.parse import quote

from quart_app.models import KIB
from quart_app.protocol.dispositions import disposition_parameters, parameter_text
from quart_app.protocol.headers import QUOTED_STRING, TOKEN
from quart_app.protocol.text import is_utf8

__all__ = [
    "INLINE_SAFE",
    "MAX_MEDIA_TYPE_SIZE",
    "MAX_NAME_SIZE",
    "SNIFF_SIZE",
    "content_disposition",
    "display_name",
    "guess_media_type",
    "inline_safe",
    "media_type",
    "parse_disposition_name",
    "stated_media_type",
    "url_name",
]

#: Bytes of UTF-8 in a display name; what file systems take.
MAX_NAME_SIZE = 255
#: Bytes of an extension that survives when a name is cut.
_MAX_EXTENSION_SIZE = 32
#: Characters of a media type.
MAX_MEDIA_TYPE_SIZE = 255
#: Bytes of a file that are looked at to guess its charset.
SNIFF_SIZE = 64 * KIB

# Controls, separators of lines, marks that reorder or hide text, and halves of characters. The
# joiners U+200C and U+200D stay: emoji and several scripts need them.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_SPACE = "".join(filter(str.isspace, map(chr, range(0x3001))))

#: What RFC 8187, 3.2.1 lets stand, beyond letters, digits and what `quote` never touches.
_ATTR_CHARS = "!#$&+^`|"
_NOT_FALLBACK = re.compile(r'[^ -~]|["%\\]')

_MEDIA_TYPE = re.compile(
    # Possessive, as the white space around an empty parameter could be split in many ways.
    rf"{TOKEN}/{TOKEN}(?: *; *(?:{TOKEN}=(?:{TOKEN}|{QUOTED_STRING}))?)*+"
)

#: What the table of the oldest supported Python lacks or says otherwise than the latest.
_TYPES = {
    ".7z": "application/x-7z-compressed",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".js": "text/javascript",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".mkv": "video/matroska",
    ".ndjson": "application/x-ndjson",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".rar": "application/vnd.rar",
    ".rtf": "application/rtf",
    ".toml": "application/toml",
    ".wav": "audio/wav",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
#: A stored `x.tar.gz` is its compressed bytes: the outer form is its type.
_COMPRESSED = MappingProxyType(
    {
        "br": "application/x-brotli",
        "bzip2": "application/x-bzip2",
        "compress": "application/x-compress",
        "gzip": "application/gzip",
        "xz": "application/x-xz",
        "zstd": "application/zstd",
    }
)


def _mime_types() -> MimeTypes:
    """Build a table that is the same on every machine."""
    table = MimeTypes(filenames=())
    table.encodings_map |= {".z": "compress", ".zst": "zstd"}
    for extension, type_ in _TYPES.items():
        table.add_type(type_, extension)
    return table


_MIME_TYPES = _mime_types()

#: Media types that a browser shows without running anything that reaches the page's origin. The
#: viewer of PDFs has an origin and an interpreter of its own.
INLINE_SAFE = frozenset({"application/pdf", "text/plain"})

#: Kinds of media types that are as safe, but for documents in XML, which may hold scripts. Types of
#: these kinds that a browser does not know are saved.
INLINE_SAFE_KINDS = frozenset({"audio", "image", "video"})


def display_name(raw: str | None, default: str = "file") -> str:
    """Make a name fit to be shown out of an untrusted one.

    Args:
        raw: A name or path from any system, or None.
        default: What stands for a name of which nothing is left.

    Returns:
        The last segment in NFC, without control characters, bidirectional marks and lone
        surrogates, without white space at its edges and dots at its end; never empty, `.` or
        `..`. At most `MAX_NAME_SIZE` bytes, the extension kept if it is short. Doing it twice
        changes nothing more.
    """
    last = re.split(r"[/\\]", raw or "")[-1]
    # Normalising takes time quadratic in combining marks, hence a first and wide cut.
    bounded = _cut(_UNSAFE.sub("", last), 4 * MAX_NAME_SIZE)
    return _trimmed(_cut(_trimmed(normalize("NFC", bounded)), MAX_NAME_SIZE)) or default


def _cut(name: str, size: int) -> str:
    stem, extension = splitext(name)
    if len(extension.encode()) > _MAX_EXTENSION_SIZE:
        stem, extension = name, ""
    return stem.encode()[: size - len(extension.encode())].decode(errors="ignore") + extension


def _trimmed(name: str) -> str:
    return name.lstrip(_SPACE).rstrip(_SPACE + ".")


def parse_disposition_name(header: str | None) -> str | None:
    """Return the file name in `Content-Disposition` (RFC 6266, 4.3), whatever else it holds.

    Returns:
        The raw name, `filename*` (RFC 8187) before `filename`; None when there is none.
    """
    return parameter_text(disposition_parameters(header or ""), "filename")


def content_disposition(name: str, *, inline: bool = False) -> str:
    """Format `Content-Disposition` with both forms of the name (RFC 6266, 4.3 and D).

    Args:
        name: Any text; what could end the field or its parameters is encoded.
        inline: Whether the file may be shown in place of being saved.
    """
    fallback = _NOT_FALLBACK.sub("_", name)
    extended = quote(name, safe=_ATTR_CHARS, errors="replace")
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{fallback}\"; filename*=UTF-8''{extended}"


def url_name(name: str) -> str:
    """Encode a name as one segment of a path (RFC 3986, 3.3)."""
    return quote(name, safe="", errors="replace")


def guess_media_type(name: str, head: bytes = b"", *, complete: bool = True) -> str:
    """Guess a media type from the extension of a name, and the charset of text from its bytes.

    Browsers show text without a charset in the coding of their locale. ASCII is the same in all of
    them, so an ASCII file needs none. XML declares its own coding, which a charset in the field
    would override (RFC 7303, 3.2); JSON and other types outside `text/` are UTF-8 by definition.

    Args:
        name: Display name.
        head: The first bytes of the file, up to `SNIFF_SIZE`.
        complete: Whether these are all of its bytes.

    Returns:
        The media type; `application/octet-stream` for an unknown extension.
    """
    # A relative path, as the name alone could pass for a URL: `data:text/html,x.png`.
    type_, encoding = _MIME_TYPES.guess_type(f"./{name.lower()}")
    guessed = _COMPRESSED.get(encoding or "") or type_ or "application/octet-stream"
    if not guessed.startswith("text/") or guessed.endswith("xml") or (complete and head.isascii()):
        return guessed
    return f"{guessed}; charset=utf-8" if is_utf8(head, complete=complete) else guessed


def stated_media_type(header: str | None) -> str | None:
    """Return the media type that a client states.

    Args:
        header: `Content-Type` of the body or part, or None.

    Returns:
        The field as it is; None if it is missing, is no media type (RFC 9110, 8.3.1), or is the
        default of `curl --data-binary`, `application/x-www-form-urlencoded`.
    """
    stated = (header or "").strip(" \t")
    if (
        len(stated) > MAX_MEDIA_TYPE_SIZE
        or not _MEDIA_TYPE.fullmatch(stated)
        or _essence(stated) == "application/x-www-form-urlencoded"
    ):
        return None
    return stated


def media_type(header: str | None, name: str) -> str:
    """Return the media type that a client states, otherwise a guess from the name.

    Args:
        header: `Content-Type` of the body or part, or None.
        name: Display name.
    """
    return stated_media_type(header) or guess_media_type(name)


def inline_safe(media_type: str) -> bool:
    """Return whether a browser may show a file in place; parameters do not matter.

    Browsers split `Content-Type` at commas and take the last type that they can read: of
    `image/png;,text/html` they run the scripts. No type with a comma is safe.
    """
    if "," in media_type or not _MEDIA_TYPE.fullmatch(media_type.strip(" \t")):
        return False
    essence = _essence(media_type)
    kind, _, subtype = essence.partition("/")
    is_document = "xml" in subtype or "svg" in subtype  # `+xml` of any kind is XML (RFC 7303)
    return essence in INLINE_SAFE or (kind in INLINE_SAFE_KINDS and not is_document)


def _essence(media_type: str) -> str:
    return media_type.partition(";")[0].strip(" \t").lower()
