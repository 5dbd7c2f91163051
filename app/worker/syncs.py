"""Automatic syncs: requested by the gateway for a definition that differs from the approved one, or periodic."""

import asyncio
import logging
import time
from datetime import timedelta
from uuid import UUID

from app.db.jobs import OUTAGES, Periodic, repeat
from app.features.servers.sync import INTERRUPTED, claim_due, fail_lost_syncs, sync_server
from app.http.runtime import Runtime

_log = logging.getLogger(__name__)
_WAITING = 1_000
# A server whose list never matches would otherwise be synced with each list.
_EVERY_S = 30.0
MAX_CONCURRENT_SYNCS = 4
"""The maximum of concurrent automatic syncs of a worker."""
_LOOK_EVERY_S = 30.0


class GatewaySyncs:
    """The syncs that the gateway requests: sequential, with each server queued at most once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: dict[UUID, None] = {}
        self._begun: dict[UUID, float] = {}
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def request(self, server_id: UUID) -> None:
        """Queue a sync."""
        # May be called from a thread, in which large lists are checked.
        self._loop.call_soon_threadsafe(self._take, server_id)

    def _take(self, server_id: UUID) -> None:
        recently = time.monotonic() - self._begun.get(server_id, -_EVERY_S) < _EVERY_S
        if not recently and len(self._waiting) < _WAITING:
            self._waiting[server_id] = None
            self._wake.set()

    async def run(self) -> None:
        """Sync requested servers until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                server_id = next(iter(self._waiting))
                del self._waiting[server_id]
                self._begun[server_id] = time.monotonic()
                await _sync(self._runtime, server_id)


class PeriodicSyncs:
    """Syncs every server once per interval, on the first worker of any replica that finds it due."""

    def __init__(self, runtime: Runtime, interval: timedelta) -> None:
        self._runtime = runtime
        self._interval = interval
        # A host without commands leaves those servers to hosts with commands.
        self._transports = (
            ("streamable_http",) if runtime.supervisor is None else ("streamable_http", "stdio")
        )

    async def run(self) -> None:
        """Sync due servers until cancelled; an interval of zero disables it."""
        every_s = min(_LOOK_EVERY_S, self._interval.total_seconds() / 2)
        await repeat("syncing servers", self._sync_all, every_s)

    async def _sync_all(self) -> None:
        while await self.round() == MAX_CONCURRENT_SYNCS:
            pass

    async def round(self) -> int:
        """Sync some due servers concurrently; return their number."""
        async with self._runtime.sessions() as session:
            due = await claim_due(session, self._interval, MAX_CONCURRENT_SYNCS, self._transports)
            await session.commit()
        # No connection is held while servers are read.
        await asyncio.gather(*(_sync(self._runtime, server_id) for server_id in due))
        return len(due)


class LostSyncs(Periodic):
    """Marks syncs of killed workers as interrupted."""

    name = "looking for interrupted syncs"
    every_s = _LOOK_EVERY_S

    async def round(self) -> None:
        async with self._sessions() as session:
            await fail_lost_syncs(session, INTERRUPTED)
            await session.commit()


async def _sync(runtime: Runtime, server_id: UUID) -> None:
    try:
        await sync_server(runtime, server_id)
    except OUTAGES:
        # Others report that the database is unavailable; the server is synced when it is due.
        return
    except Exception as error:  # noqa: BLE001
        # The sync records its own failures; no other failure may end the loop.
        _log.warning("sync of a server failed: %s", type(error).__name__)
