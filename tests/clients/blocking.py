"""Drive the client for asyncio with the words of the one for threads, so that one test tells of both."""

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tests.clients.live import Loop

_END = object()


class Blocking:
    """Stands before an object of the asyncio client: awaits what it returns, iterates over what it yields."""

    def __init__(self, target: Any, loop: Loop) -> None:
        self._target = target
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return self._wrapped(getattr(self._target, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapped(self._target(*args, **kwargs))

    def __iter__(self) -> Iterator[Any]:
        items: AsyncIterator[Any] = aiter(self._target)
        while (item := self._loop.run(_next(items))) is not _END:
            yield item

    def _wrapped(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            return self._loop.run(_awaited(value))
        ours = (
            type(value).__module__.startswith("scopegate_client") and "models" not in type(value).__module__
        )
        return (
            Blocking(value, self._loop) if ours or callable(value) or hasattr(value, "__aiter__") else value
        )


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items, _END)


async def _awaited(value: Any) -> Any:
    return await value
