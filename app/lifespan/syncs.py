"""Syncs that the gateway asks for when a live definition is not the approved one."""

import asyncio
import logging
import time
from uuid import UUID

from app.features.tools.sync import sync_server
from app.kit.runtime import Runtime

_log = logging.getLogger(__name__)
_WAITING = 1_000
# A server whose live list never matches would otherwise be synced with each list that passes.
_EVERY_S = 30.0


class SyncRequestsPort:
    """``gateway.ports.SyncRequests``: one sync after another, each server waiting at most once."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: dict[UUID, None] = {}
        self._begun: dict[UUID, float] = {}
        self._wake = asyncio.Event()

    def request_sync(self, server_id: UUID) -> None:
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
                try:
                    await sync_server(self._runtime, server_id)
                except Exception as error:  # noqa: BLE001
                    # The sync records its own failures; whatever is left must not end the loop.
                    _log.warning("sync of a server failed: %s", type(error).__name__)
