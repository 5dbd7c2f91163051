"""How long one request waits for the database in all, whatever it waits for."""

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import TypeVar

from app.admission.store import StoreUnavailable
from app.gateway.wire.http import Exchange

Found = TypeVar("Found")
STORE_SECONDS = 1.6
"""Each wait has a deadline of its own below this; after a long one, what is left of it is all that the next has."""
LEFT_AT_LEAST_S = 0.2
_SHORT_S = 0.1


class OutOfPatience(StoreUnavailable):
    """Given up by us: what was asked for may be done all the same."""


async def patiently(exchange: Exchange, asking: Awaitable[Found]) -> Found:
    """What the database says. Raises what asking raises, and ``OutOfPatience``.

    A list may ask many things at once, and waits for all of them no longer than for the slowest.
    """
    now = monotonic()
    if not exchange.waits:
        exchange.waiting_since = now
    waited_s = exchange.waited_s + now - exchange.waiting_since
    exchange.waits += 1
    try:
        if waited_s < _SHORT_S or exchange.started:
            # Nearly always: no timer is made for it. And an answer that has begun is late for nobody.
            return await asking
        return await _while_patient(asking, max(LEFT_AT_LEAST_S, STORE_SECONDS - waited_s))
    finally:
        exchange.waits -= 1
        if not exchange.waits:
            exchange.waited_s += monotonic() - exchange.waiting_since


async def _while_patient(asking: Awaitable[Found], left_s: float) -> Found:
    try:
        async with asyncio.timeout(left_s) as patience:
            return await asking
    except TimeoutError:
        if not patience.expired():
            raise
        raise OutOfPatience from None
