"""The base of the generated resources."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from scopegate_client._call import Call
from scopegate_client.listing import AsyncFollowing, AsyncListing, Following, Listing, Page

T = TypeVar("T")


class Sender(Protocol):
    """Sends calls, for threads."""

    def send(self, call: Call[T]) -> T:
        """Send a call and return its response."""

    def sleep(self, seconds: float) -> None:
        """Sleep."""


class AsyncSender(Protocol):
    """Sends calls, for asyncio."""

    async def send(self, call: Call[T]) -> T:
        """Send a call and return its response."""

    async def sleep(self, seconds: float) -> None:
        """Sleep."""


class Resource:
    """The operations on one kind of object."""

    def __init__(self, driver: Sender) -> None:
        self._driver = driver

    def _send(self, call: Call[T]) -> T:
        return self._driver.send(call)

    def _list(self, call: Callable[[str | None], Call[Page[T]]]) -> Listing[T]:
        """Build a list; ``call`` fetches the page after a cursor."""

        def fetch(cursor: str | None) -> Page[T]:
            return self._driver.send(call(cursor))

        return Listing(fetch)

    def _follow(
        self, call: Callable[[str], Call[Page[T]]], after: str | None, *, wait: bool, interval: float
    ) -> Following[T]:
        """Build a growing list; ``call`` fetches the page after a position."""

        def fetch(place: str) -> Page[T]:
            return self._driver.send(call(place))

        return Following(fetch, self._driver.sleep, after, wait=wait, interval=interval)


class AsyncResource:
    """The operations on one kind of object."""

    def __init__(self, driver: AsyncSender) -> None:
        self._driver = driver

    async def _send(self, call: Call[T]) -> T:
        return await self._driver.send(call)

    def _list(self, call: Callable[[str | None], Call[Page[T]]]) -> AsyncListing[T]:
        """Build a list; ``call`` fetches the page after a cursor."""

        async def fetch(cursor: str | None) -> Page[T]:
            return await self._driver.send(call(cursor))

        return AsyncListing(fetch)

    def _follow(
        self, call: Callable[[str], Call[Page[T]]], after: str | None, *, wait: bool, interval: float
    ) -> AsyncFollowing[T]:
        """Build a growing list; ``call`` fetches the page after a position."""

        async def fetch(place: str) -> Page[T]:
            return await self._driver.send(call(place))

        return AsyncFollowing(fetch, self._driver.sleep, after, wait=wait, interval=interval)
