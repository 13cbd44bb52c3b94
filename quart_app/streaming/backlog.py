"""A queue that counts the memory of its items, overhead included."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from quart_app.models import KIB

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHUNK_OVERHEAD", "Backlog"]

#: Memory of a chunk in addition to its bytes: the object and its slot in a queue. If this overhead
#: were not counted, chunks of two bytes would use 20 times the counted memory.
CHUNK_OVERHEAD = KIB // 16

T = TypeVar("T")


class Backlog(Generic[T]):
    """A first-in, first-out queue that counts the memory of its items.

    Every bounded queue of this package counts memory with this class. `push` never blocks and never
    rejects an item: the owner pauses the source while the queue is `full`.

    Attributes:
        held: Memory of all items in bytes, including `overhead` for each item.

    Args:
        limit: Size in bytes at which the queue is full.
        overhead: Bytes per item in addition to its content.
        size: Returns the size of an item's content in bytes.
    """

    def __init__(
        self, limit: int, overhead: int = CHUNK_OVERHEAD, size: Callable[[Any], int] = len
    ) -> None:
        self.held = 0
        self._limit = limit
        self._overhead = overhead
        self._size = size
        self._items: deque[T] = deque()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether the items use `limit` bytes or more."""
        return self.held >= self._limit

    @property
    def last(self) -> T | None:
        """The newest item, or None if the queue is empty."""
        return self._items[-1] if self._items else None

    def push(self, item: T) -> None:
        """Add an item."""
        self._items.append(item)
        self.held += self._size(item) + self._overhead

    def grow(self, size: int) -> None:
        """Add `size` to the count, after the owner has appended bytes to the newest item."""
        self.held += size

    def pop(self) -> T:
        """Remove and return the oldest item."""
        item = self._items.popleft()
        self.held -= self._size(item) + self._overhead
        return item

    def clear(self) -> None:
        """Remove all items."""
        self._items.clear()
        self.held = 0
