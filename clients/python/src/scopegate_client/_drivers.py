"""Drivers of exchanges: perform what they yield, in threads or on an event loop."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx

from scopegate_client._call import Call
from scopegate_client._credentials import Credentials
from scopegate_client._exchange import Exchange, NeedBearer, Send, Step, exchange
from scopegate_client.secret import Secret

T = TypeVar("T")


class Driver:
    """The driver for threads, which may share it."""

    def __init__(self, http: httpx.Client, credentials: Credentials, retries: int) -> None:
        self.http = http
        self._credentials = credentials
        self._retries = retries
        self._signing_in = threading.Lock()

    def send(self, call: Call[T]) -> T:
        """Send a call and return its response."""
        return self._run(exchange(self.http, call, self._retries))

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)

    def _run(self, flow: Exchange[T]) -> T:
        resume: Callable[[Any], Step] = flow.send
        came: Any = None
        while True:
            try:
                step = resume(came)
            except StopIteration as end:
                answer: T = end.value
                return answer
            try:
                resume, came = flow.send, self._wait_for(step)
            except httpx.RequestError as error:
                resume, came = flow.throw, error

    def _wait_for(self, step: Step) -> Any:
        if isinstance(step, Send):
            return self.http.send(step.request)
        if isinstance(step, NeedBearer):
            return self._bearer(step)
        return self.sleep(step.seconds)

    def _bearer(self, need: NeedBearer) -> Secret | None:
        bearer = self._credentials.at_hand(need.refused)
        if bearer is not None or not self._credentials.signs_in:
            return bearer
        flights = self._credentials.flights
        with self._signing_in:
            bearer = self._credentials.at_hand(need.refused)
            if bearer is not None:
                return bearer
            self._credentials.raise_failure_since(flights)
            return self._run(self._credentials.sign_in(self.http, self._retries))


class AsyncDriver:
    """The driver for asyncio; the tasks of one event loop may share it."""

    def __init__(self, http: httpx.AsyncClient, credentials: Credentials, retries: int) -> None:
        self.http = http
        self._credentials = credentials
        self._retries = retries
        self._signing_in = asyncio.Lock()

    async def send(self, call: Call[T]) -> T:
        """Send a call and return its response."""
        return await self._run(exchange(self.http, call, self._retries))

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(seconds)

    async def _run(self, flow: Exchange[T]) -> T:
        resume: Callable[[Any], Step] = flow.send
        came: Any = None
        while True:
            try:
                step = resume(came)
            except StopIteration as end:
                answer: T = end.value
                return answer
            try:
                resume, came = flow.send, await self._wait_for(step)
            except httpx.RequestError as error:
                resume, came = flow.throw, error

    async def _wait_for(self, step: Step) -> Any:
        if isinstance(step, Send):
            return await self.http.send(step.request)
        if isinstance(step, NeedBearer):
            return await self._bearer(step)
        return await self.sleep(step.seconds)

    async def _bearer(self, need: NeedBearer) -> Secret | None:
        bearer = self._credentials.at_hand(need.refused)
        if bearer is not None or not self._credentials.signs_in:
            return bearer
        flights = self._credentials.flights
        async with self._signing_in:
            bearer = self._credentials.at_hand(need.refused)
            if bearer is not None:
                return bearer
            self._credentials.raise_failure_since(flights)
            return await self._run(self._credentials.sign_in(self.http, self._retries))
