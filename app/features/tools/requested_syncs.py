"""Syncs that people request: they continue after the response."""

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
"""How long a response waits for its sync."""
MAX_RUNNING = 32


class RequestedSyncs:
    """The requested syncs of one worker."""

    def __init__(self, answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        self._beginning = 0
        self._running: set[asyncio.Task[Server]] = set()

    async def sync(self, runtime: Runtime, server_id: UUID, caller: Caller, request_id: str | None) -> bool:
        """Start a sync; return whether it ended in time for the response.

        Raises as ``sync_server`` does, and ``Unavailable`` when too many run.
        """
        if self._beginning + len(self._running) >= MAX_RUNNING:
            raise Unavailable("Too many syncs are running. Try again in a moment.", retry_after_s=5)
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
        """Stop. Running syncs are shown as interrupted."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def _syncs_of(request: Request) -> RequestedSyncs:
    syncs: RequestedSyncs = request.app.state.requested_syncs
    return syncs


CurrentSyncs = Annotated[RequestedSyncs, Depends(_syncs_of)]
