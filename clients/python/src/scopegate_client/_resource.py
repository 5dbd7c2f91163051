"""What the generated resources stand on."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from scopegate_client._call import Call
from scopegate_client.listing import AsyncFollowing, AsyncListing, Following, Listing, Page

T = TypeVar("T")


class Sender(Protocol):
    """What carries a call out, for threads."""

    def send(self, call: Call[T]) -> T:
        """The answer of a call."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""


class AsyncSender(Protocol):
    """What carries a call out, for asyncio."""

    async def send(self, call: Call[T]) -> T:
        """The answer of a call."""

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""


class Resource:
    """The operations on one kind of object."""

    def __init__(self, driver: Sender) -> None:
        self._driver = driver

    def _send(self, call: Call[T]) -> T:
        return self._driver.send(call)

    def _list(self, call: Callable[[str | None], Call[Page[T]]]) -> Listing[T]:
        """The list whose page after a cursor this call fetches."""

        def fetch(cursor: str | None) -> Page[T]:
            return self._driver.send(call(cursor))

        return Listing(fetch)

    def _follow(
        self, call: Callable[[str], Call[Page[T]]], after: str | None, *, wait: bool, interval: float
    ) -> Following[T]:
        """The growing list whose page after a place this call fetches."""

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
        """The list whose page after a cursor this call fetches."""

        async def fetch(cursor: str | None) -> Page[T]:
            return await self._driver.send(call(cursor))

        return AsyncListing(fetch)

    def _follow(
        self, call: Callable[[str], Call[Page[T]]], after: str | None, *, wait: bool, interval: float
    ) -> AsyncFollowing[T]:
        """The growing list whose page after a place this call fetches."""

        async def fetch(place: str) -> Page[T]:
            return await self._driver.send(call(place))

        return AsyncFollowing(fetch, self._driver.sleep, after, wait=wait, interval=interval)
