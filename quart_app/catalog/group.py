"""Group commit: one wait for the disk serves everyone who came during the wait before it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

from quart_app.errors import CatalogUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Group"]

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class Group(Generic[ItemT, ResultT]):
    """Collects items while a commit is under way and commits them together in the next.

    A lone item is committed at once. An item that spoils a commit fails alone: the others of its
    group are committed again one by one.

    Args:
        commit: Makes all items durable, or none, and returns a result for each.
    """

    def __init__(self, commit: Callable[[list[ItemT]], Awaitable[Sequence[ResultT]]]) -> None:
        self._commit = commit
        self._waiting: list[tuple[ItemT, asyncio.Future[ResultT]]] = []
        self._task: asyncio.Task[None] | None = None

    async def submit(self, item: ItemT) -> ResultT:
        """Returns the item's result once it is durable.

        A caller that is cancelled before its group starts takes its item back; later, the item is
        committed all the same.
        """
        result: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await result

    async def idle(self) -> None:
        """Waits until nothing is under way."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while self._waiting:
            group = [pair for pair in self._waiting if not pair[1].cancelled()]
            self._waiting.clear()
            if group:
                await self._settle(group)

    async def _settle(self, group: list[tuple[ItemT, asyncio.Future[ResultT]]]) -> None:
        try:
            results = await self._commit([item for item, _ in group])
        except Exception as error:
            # Alone, each would wait for the lock in vain once more.
            if len(group) > 1 and not isinstance(error, CatalogUnavailable):
                for pair in group:
                    await self._settle([pair])
                return
            for _, result in group:
                if not result.cancelled():
                    result.set_exception(error)
        else:
            for (_, result), value in zip(group, results, strict=True):
                if not result.cancelled():
                    result.set_result(value)
