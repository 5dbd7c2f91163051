"""Lists that fetch their pages as needed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_MAX_EMPTY_PAGES = 1000


class Page(Protocol[T_co]):
    """One page of a list."""

    @property
    def items(self) -> Sequence[T_co]:
        """The items of this page."""

    @property
    def next_cursor(self) -> str | None:
        """The cursor of the next page; None on the last one."""


class Listing(Generic[T]):
    """All matching objects: iteration fetches the pages as needed. Each iteration starts again."""

    def __init__(self, fetch: Callable[[str | None], Page[T]]) -> None:
        self._fetch = fetch

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items

    def pages(self) -> Iterator[Page[T]]:
        """Iterate over pages, with ``items`` and ``next_cursor``."""
        cursor: str | None = None
        while True:
            page = self._fetch(cursor)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    def first(self) -> T | None:
        """The first matching object, or None."""
        return next(iter(self), None)


class AsyncListing(Generic[T]):
    """All matching objects: iteration with ``async for`` fetches the pages as needed. Each iteration starts
    again."""

    def __init__(self, fetch: Callable[[str | None], Awaitable[Page[T]]]) -> None:
        self._fetch = fetch

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self) -> AsyncIterator[Page[T]]:
        """Iterate over pages, with ``items`` and ``next_cursor``."""
        cursor: str | None = None
        while True:
            page = await self._fetch(cursor)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    async def first(self) -> T | None:
        """The first matching object, or None."""
        async for item in self:
            return item
        return None


class _Followed(Generic[T]):
    """The position of a follower, and whether there may be more."""

    def __init__(self, after: str | None, *, wait: bool, interval: float) -> None:
        self._wait = wait
        self._interval = interval
        self._empty_ones = 0
        self.cursor = after or ""

    def _pause(self, page: Page[T]) -> float | None:
        """Advance past a page; return the seconds to wait before the next, or None at the end.

        An empty page with another cursor is not the end: no event that it covered matches the filters.
        """
        moved = page.next_cursor is not None and page.next_cursor != self.cursor
        self.cursor = page.next_cursor or self.cursor
        if page.items:
            self._empty_ones = 0
            return 0.0
        self._empty_ones += 1
        if self._wait:
            return self._interval / 10 if moved else self._interval
        # With constant writes the cursor always moves, so the number of empty pages is limited.
        return 0.0 if moved and self._empty_ones < _MAX_EMPTY_PAGES else None


class Following(_Followed[T]):
    """A growing list: iteration yields each item when it appears.

    Store ``cursor`` to continue later: iteration ``after`` it misses nothing, and repeats the items since the cursor
    last moved.
    """

    def __init__(
        self,
        fetch: Callable[[str], Page[T]],
        sleep: Callable[[float], None],
        after: str | None,
        *,
        wait: bool,
        interval: float,
    ) -> None:
        super().__init__(after, wait=wait, interval=interval)
        self._fetch = fetch
        self._sleep = sleep

    def __iter__(self) -> Iterator[T]:
        while True:
            page = self._fetch(self.cursor)
            yield from page.items
            pause = self._pause(page)
            if pause is None:
                return
            if pause:
                self._sleep(pause)


class AsyncFollowing(_Followed[T]):
    """A growing list: iteration with ``async for`` yields each item when it appears.

    Store ``cursor`` to continue later: iteration ``after`` it misses nothing, and repeats the items since the cursor
    last moved.
    """

    def __init__(
        self,
        fetch: Callable[[str], Awaitable[Page[T]]],
        sleep: Callable[[float], Awaitable[None]],
        after: str | None,
        *,
        wait: bool,
        interval: float,
    ) -> None:
        super().__init__(after, wait=wait, interval=interval)
        self._fetch = fetch
        self._sleep = sleep

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            page = await self._fetch(self.cursor)
            for item in page.items:
                yield item
            pause = self._pause(page)
            if pause is None:
                return
            if pause:
                await self._sleep(pause)
