"""The one class above the drivers: keys, limits, counting and digests, done once."""

from __future__ import annotations

import base64
import secrets
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart_app.errors import NoSpace, TooLarge
from quart_app.models import MIB
from quart_app.storage.contract import PathReporting, SpaceReporting
from quart_app.streaming import Digests, gathered

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Callable,
        Mapping,
        Sequence,
    )
    from contextlib import AbstractAsyncContextManager

    from quart_app.storage.contract import Blob, Driver, Reader
    from quart_app.streaming import Piece

__all__ = ["Measured", "Store", "Stored", "new_key"]

#: Smaller bodies are not worth asking for the free space: writing them tells.
WORTH_ASKING_SIZE = 1 * MIB


def new_key() -> str:
    """Make an unguessable key: 128 random bits as 26 characters that no file system confuses."""
    return base64.b32encode(secrets.token_bytes(16)).rstrip(b"=").lower().decode()


@dataclass(frozen=True, slots=True)
class Measured:
    """What the store found out about a stream.

    Attributes:
        key: Key of its blob.
        size: Length in bytes.
        sha256: SHA-256 of the bytes, 64 hexadecimal digits.
    """

    key: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob that is durable, and removed again unless `blob.keep()` is called."""

    measured: Measured
    blob: Blob


class Store:
    """Blobs of a driver, checked on their way in.

    Args:
        driver: Holds the bytes.
        max_size: Largest blob in bytes.

    Attributes:
        driver: The driver, for those who look after its blobs.
        max_size: Largest blob in bytes.
    """

    def __init__(self, driver: Driver, *, max_size: int) -> None:
        self.max_size = max_size
        self.driver = driver

    async def admit(self, size: int | None) -> None:
        """Refuse a body by its declared length, before any of it is read.

        Args:
            size: Declared length in bytes, or None.

        Raises:
            TooLarge: It is over the limit.
            NoSpace: It does not fit the space that is left.
        """
        if size is None:
            return
        if size > self.max_size:
            raise TooLarge(self.max_size)
        if (
            size > WORTH_ASKING_SIZE
            and isinstance(self.driver, SpaceReporting)
            and size > await self.driver.free_space()
        ):
            raise NoSpace

    @asynccontextmanager
    async def put(
        self,
        chunks: AsyncIterable[bytes],
        digests: Mapping[str, bytes],
        describe: Callable[[Measured], bytes],
    ) -> AsyncIterator[Stored]:
        """Store a stream under a new key; see `Driver.put` for the effect of leaving the context.

        Args:
            chunks: The bytes.
            digests: Digests the bytes must have, by their names in RFC 9530.
            describe: Returns the record to keep beside the bytes; called after the last of them.

        Raises:
            TooLarge: The stream passes `max_size`.
            DigestMismatch: A digest differs; nothing is stored.
            StorageError: As the driver raises.
        """
        key = new_key()
        found = Digests("sha-256", declared=digests)

        def measured() -> Measured:
            return Measured(key, found.size, found.digest("sha-256").hex())

        async with (
            aclosing(self._checked(chunks, found)) as pieces,
            self.driver.put(key, pieces, lambda: describe(measured())) as blob,
        ):
            yield Stored(measured(), blob)

    async def _checked(
        self, chunks: AsyncIterable[bytes], digests: Digests
    ) -> AsyncGenerator[Piece]:
        async with aclosing(gathered(chunks)) as pieces, aclosing(digests.watch(pieces)) as seen:
            async for piece in seen:
                if digests.size > self.max_size:
                    raise TooLarge(self.max_size)
                yield piece
        digests.verify()

    def open(self, key: str) -> AbstractAsyncContextManager[Reader]:
        """Open a blob for reading.

        Raises:
            NotFound: There is none.
        """
        return self.driver.open(key)

    def relative_path(self, key: str) -> str | None:
        """Return the path of a blob below the driver's directory; None where blobs are no files."""
        return self.driver.relative_path(key) if isinstance(self.driver, PathReporting) else None

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove blobs; a missing one is no error."""
        await self.driver.delete(keys)

    async def exists(self, key: str) -> bool:
        """Return whether there is a blob."""
        return await self.driver.look(key) is not None

    async def check(self) -> None:
        """Return if the store answers and accepts writes.

        Raises:
            StorageUnavailable: It does not.
        """
        await self.driver.check()
