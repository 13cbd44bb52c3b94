"""What a local disk says when it fails, in this package's words."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from quart_app.errors import NoSpace, StorageError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["disk_errors"]

OWN_ERRORS: dict[int | None, type[StorageError]] = {
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EFBIG: NoSpace,
    errno.EROFS: StorageUnavailable,
    errno.EACCES: StorageUnavailable,
    errno.EPERM: StorageUnavailable,
    errno.EIO: StorageUnavailable,
    errno.EMFILE: StorageUnavailable,
    errno.ENFILE: StorageUnavailable,
    errno.ENOENT: StorageUnavailable,
    errno.ENOTDIR: StorageUnavailable,
    errno.ESTALE: StorageUnavailable,
}


@contextmanager
def disk_errors() -> Iterator[None]:
    """Translate what the block's calls to a local disk raise.

    Raises:
        NoSpace: It is full.
        StorageUnavailable: It does not answer, or takes no writes.
        StorageError: Anything else that is an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise OWN_ERRORS.get(error.errno, StorageError)() from error
