"""Bytes in a directory: a file gets its name once it is complete and durable."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING

from benchmarks.servers.flask_app import catalog
from benchmarks.servers.flask_app.settings import DATA, MAX_UPLOAD_SIZE, READ_SIZE
from quart_app.errors import DigestMismatch, NoSpace, NotFound, StorageUnavailable, TooLarge
from quart_app.models import ByteRange, File
from quart_app.protocol.digests import ALGORITHMS
from quart_app.protocol.names import SNIFF_SIZE, guess_media_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FILES = DATA / "files"
FILES.mkdir(parents=True, exist_ok=True)

NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way in.

    Attributes:
        chunks: Its bytes.
        name: Display name.
        media_type: Media type that the client states, or None: guessed from name and first bytes.
        digests: Digests it must have, by their names in RFC 9530.
        lifetime: How long it is kept, or None for ever.
    """

    chunks: Iterable[bytes]
    name: str
    media_type: str | None
    digests: Mapping[str, bytes] = field(default_factory=dict)
    lifetime: timedelta | None = None


def admit(length: int | None) -> None:
    """Refuse a declared length, in bytes, that passes the limit or does not fit the disk."""
    if length is not None and length > MAX_UPLOAD_SIZE:
        raise TooLarge(MAX_UPLOAD_SIZE)
    if length is not None and length > shutil.disk_usage(FILES).free:
        raise NoSpace


def store(uploads: Iterable[Upload]) -> list[File]:
    """Store files: all, listed together once their bytes are durable, or none."""
    with ExitStack() as unless_all_are_kept, disk_errors():
        stored = []
        for upload in uploads:
            path = FILES / secrets.token_urlsafe(16)
            unless_all_are_kept.callback(path.unlink, missing_ok=True)
            stored.append(_written(upload, path))
        _sync_directory()
        catalog.add(stored)
        unless_all_are_kept.pop_all()
    return stored


def _written(upload: Upload, path: Path) -> File:
    part = path.with_name(f".{path.name}.part")
    digest = hashlib.sha256()
    others = {name: hashlib.new(ALGORITHMS[name]) for name in upload.digests.keys() - {"sha-256"}}
    size, head = 0, b""
    try:
        with part.open("xb", buffering=0) as file:
            for chunk in upload.chunks:
                size += len(chunk)
                head += chunk[: SNIFF_SIZE - len(head)]
                if size > MAX_UPLOAD_SIZE:
                    raise TooLarge(MAX_UPLOAD_SIZE)
                for each in (digest, *others.values()):
                    each.update(chunk)
                _write(file, chunk)
            found = {"sha-256": digest} | others
            if any(found[name].digest() != told for name, told in upload.digests.items()):
                raise DigestMismatch
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    now = datetime.now(UTC)
    expires_at = None if upload.lifetime is None else now + upload.lifetime
    sha256 = digest.hexdigest()
    guessed = guess_media_type(upload.name, head, complete=len(head) == size)
    kind = upload.media_type or guessed
    return File(path.name, upload.name, size, kind, sha256, now, expires_at)


def _write(file: IO[bytes], chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:  # an unbuffered file may take less than it is given
        rest = rest[file.write(rest) :]


def _sync_directory() -> None:
    directory = os.open(FILES, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def path_of(file: File) -> Path:
    return FILES / file.id


def opened(file: File) -> IO[bytes]:
    """Open the bytes of a file; NotFound if it was deleted meanwhile."""
    try:
        return path_of(file).open("rb")
    except FileNotFoundError as error:
        raise NotFound from error


def read(source: IO[bytes], wanted: ByteRange) -> Iterator[bytes]:
    """Read a range of a file in pieces."""
    source.seek(wanted.start)
    left = wanted.size
    while left and (chunk := source.read(min(left, READ_SIZE))):
        left -= len(chunk)
        yield chunk


def delete(file: File) -> None:
    """Remove the entry, then the bytes, so that no entry ever points to missing ones."""
    catalog.remove(file.id)
    path_of(file).unlink(missing_ok=True)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Tell what the disk refused in the words of the API."""
    try:
        yield
    except OSError as error:
        raise (NoSpace if error.errno in NO_SPACE else StorageUnavailable) from error
