"""Syncs that nobody asked for at the API: those that the gateway wants when a live definition is not the approved
one, and those that come by themselves every now and then.
"""

import asyncio
import logging
import time
from datetime import timedelta
from random import SystemRandom
from uuid import UUID

from app.features.servers.queries import claim_due, fail_lost_syncs
from app.features.tools.sync import INTERRUPTED, sync_server
from app.http.runtime import Runtime
from app.worker.ports import AWAY

_log = logging.getLogger(__name__)
_WAITING = 1_000
# A server whose live list never matches would otherwise be synced with each list that passes.
_EVERY_S = 30.0
AT_ONCE = 4
"""How many servers one worker reads by itself at a time."""
_LOOK_EVERY_S = 30.0
# Of its own: a generator that others seed would bring workers together again, and be changed under them.
_spread = SystemRandom()


class SyncRequestsPort:
    """``gateway.ports.SyncRequests``: one sync after another, each server waiting at most once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: dict[UUID, None] = {}
        self._begun: dict[UUID, float] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def request_sync(self, server_id: UUID) -> None:
        # From a thread, too: a large list is looked at in one.
        self._loop.call_soon_threadsafe(self._take, server_id)

    def _take(self, server_id: UUID) -> None:
        recently = time.monotonic() - self._begun.get(server_id, -_EVERY_S) < _EVERY_S
        if not recently and len(self._waiting) < _WAITING:
            self._waiting[server_id] = None
            self._wake.set()

    async def run(self) -> None:
        """Sync what was asked for until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                server_id = next(iter(self._waiting))
                del self._waiting[server_id]
                self._begun[server_id] = time.monotonic()
                await _sync(self._runtime, server_id)


class PeriodicSyncs:
    """Reads every server again once in each interval: whichever worker of whichever replica comes first."""

    def __init__(self, runtime: Runtime, interval: timedelta) -> None:
        self._runtime = runtime
        self._interval = interval
        # A host that runs no commands leaves those servers to the hosts that do.
        self._transports = (
            ("streamable_http",) if runtime.supervisor is None else ("streamable_http", "stdio")
        )

    async def run(self) -> None:
        """Look for what is due until cancelled; an interval of nothing looks for nothing."""
        while self._interval:
            # Spread, so that workers that were started together do not look together.
            longest = min(_LOOK_EVERY_S, self._interval.total_seconds() / 2)
            await asyncio.sleep(longest * _spread.uniform(0.5, 1.0))
            while await self.round() == AT_ONCE:
                pass

    async def round(self) -> int:
        """Read a few servers that are due, at once; how many there were."""
        try:
            async with self._runtime.sessions() as session:
                due = await claim_due(session, self._interval, AT_ONCE, self._transports)
                await session.commit()
        except AWAY:
            # Others say that the database is away; what is due stays due.
            return 0
        # No connection is held while servers are asked.
        await asyncio.gather(*(_sync(self._runtime, server_id) for server_id in due))
        return len(due)


class LostSyncs:
    """Shows syncs as interrupted whose worker was killed: the first worker of any replica that looks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def run(self) -> None:
        """Look now and then until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S * _spread.uniform(0.5, 1.0))
            await self.give_up()

    async def give_up(self) -> None:
        """Look once."""
        try:
            async with self._runtime.sessions() as session:
                await fail_lost_syncs(session, INTERRUPTED)
                await session.commit()
        except AWAY:
            # Others say that the database is away.
            return


async def _sync(runtime: Runtime, server_id: UUID) -> None:
    try:
        await sync_server(runtime, server_id)
    except AWAY:
        # Others say that the database is away; the server is read again when it is due.
        return
    except Exception as error:  # noqa: BLE001
        # The sync records its own failures; whatever is left must not end the loop.
        _log.warning("sync of a server failed: %s", type(error).__name__)
