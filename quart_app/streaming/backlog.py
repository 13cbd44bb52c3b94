"""A queue that counts the memory of its items, overhead included."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from quart_app.models import KIB

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHUNK_OVERHEAD", "Backlog"]

#: Memory of a chunk beside its bytes: the object and its place in a queue. Without it, chunks of
#: two bytes would hold 20 times the memory that is counted.
CHUNK_OVERHEAD = KIB // 16

T = TypeVar("T")


class Backlog(Generic[T]):
    """Items that wait in order, and the bytes of memory that they hold.

    Every bounded queue of this package counts in this way. `push` never waits and never refuses:
    the owner stops the source while the queue is `full`.

    Attributes:
        held: Bytes that the items hold, with `overhead` for each.

    Args:
        limit: Bytes from which the queue is full.
        overhead: Bytes that one item takes beside its content.
        size: Returns the bytes of an item's content.
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
        """Whether the items hold `limit` bytes or more."""
        return self.held >= self._limit

    @property
    def last(self) -> T | None:
        """The item that was added last, or None."""
        return self._items[-1] if self._items else None

    def push(self, item: T) -> None:
        """Add an item."""
        self._items.append(item)
        self.held += self._size(item) + self._overhead

    def grow(self, size: int) -> None:
        """Count `size` bytes that were added to the content of the last item."""
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
