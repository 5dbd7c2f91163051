"""Syncs that people ask for: they go on when their request has been answered."""

import asyncio
import logging
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from app.domain.errors import DomainError, Unavailable
from app.features.tools.sync import begin_sync, finish_sync
from app.http.authorization import Caller
from app.http.runtime import Runtime
from app.models.servers import Server

_log = logging.getLogger(__name__)
ANSWER_S = 2.0
"""How long a request waits for its sync."""
MAX_RUNNING = 32


class AskedSyncs:
    """Those of one worker."""

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._beginning = 0
        self._running: set[asyncio.Task[Server]] = set()

    async def sync(self, runtime: Runtime, server_id: UUID, caller: Caller, request_id: str | None) -> bool:
        """Begin a sync; whether it has ended when the request is to be answered.

        Raises as ``sync_server`` does, and ``Unavailable`` when too many run.
        """
        if self._beginning + len(self._running) >= MAX_RUNNING:
            raise Unavailable("Many servers are being read now. Try again in a moment.", retry_after_s=5)
        self._beginning += 1
        try:
            start = await begin_sync(runtime, server_id)
            task = asyncio.create_task(
                finish_sync(runtime, server_id, start, caller, request_id), name="sync"
            )
            self._running.add(task)
        finally:
            self._beginning -= 1
        task.add_done_callback(self._ended)
        await asyncio.wait({task}, timeout=self._answer_s)
        if task.done():
            task.result()
        return task.done()

    def _ended(self, task: asyncio.Task[Server]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, DomainError):
            _log.warning("sync of a server failed: %s", type(error).__name__)

    async def aclose(self) -> None:
        """Stop. What was running is shown as interrupted."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def _syncs_of(request: Request) -> AskedSyncs:
    syncs: AskedSyncs = request.app.state.asked_syncs
    return syncs


CurrentSyncs = Annotated[AskedSyncs, Depends(_syncs_of)]
