"""Sync a server: read its tools without a database connection, then reconcile the stored ones.

Two syncs of one server may read at the same time, but apply one at a time (under the lock of the server's row). The one
that started earlier gives way, so that an older result never overwrites a newer one. Syncs that people request continue
after the response.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import Interval, bindparam, func, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.credentials import OpenedCredential, launch_of, open_credential
from app.crypto.keys import UnsealingFault
from app.db.change import Change
from app.db.clock import current_time
from app.db.engine import commit
from app.domain.errors import Conflict, DomainError, Unavailable
from app.domain.objects import ToolState
from app.features.servers.discovery import COMMAND_BUDGET, Discovery, DiscoveryFailed, discover
from app.features.servers.queries import MAX_DOUBLINGS, MAX_SYNC_TIME
from app.features.servers.schemas import instructions_state
from app.features.servers.service import SERVER, get_server, lock_server
from app.features.tools.definitions import reconcile
from app.features.tools.queries import tools_of_server
from app.features.tools.service import TOOL
from app.http.authorization import Caller, Role
from app.http.etags import Precondition
from app.http.runtime import Runtime, from_state
from app.lib.secret_matcher import match_values
from app.models.servers import Server
from app.outbound.client_tokens import TokenFault
from app.outbound.http import Target
from app.outbound.stdio import secret_values, sync_holder

# The first worker moves the time forward, by twice as much for each failure, so that each server is claimed once; the
# next time is randomized, so that they are not all due at once. A server that was never synced is skipped: its first
# sync approves its tools, which a person must decide.
_CLAIM = text(
    """
    UPDATE servers SET sync_due_at = clock_timestamp()
        + :interval * power(2, least(sync_failures, :most_doublings)) * (0.9 + 0.2 * random())
    WHERE id IN (
        SELECT id FROM servers
        WHERE ended_at IS NULL AND status = 'active' AND first_synced_at IS NOT NULL
          AND coalesce(sync_due_at, sync_at + :interval, first_synced_at) <= clock_timestamp()
          AND transport = ANY(:transports)
        ORDER BY coalesce(sync_due_at, sync_at + :interval, first_synced_at), id
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
    RETURNING id
    """
).bindparams(bindparam("interval", type_=Interval()))

# The actor of background syncs, after a changed definition was noticed.
SYSTEM = Caller.system(Role.ADMIN)
INTERRUPTED = "The sync was interrupted: sync again."
_GIVE_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Start:
    """The state of a server at the start of a sync."""

    at: datetime
    place: tuple[str | None, ...]
    url: str | Target
    credential: OpenedCredential
    fault: DiscoveryFailed | None = None


async def sync_server(runtime: Runtime, server_id: UUID) -> Server:
    """Read a server's tools in the background and reconcile the stored ones; return the server's row.

    A server that does not answer properly gets the sync state ``error`` with the reason, and nothing else changes.
    Raises ``NotFound``, ``Conflict`` (``server_changed``: its location changed) and ``Unavailable``. Call it without an
    open transaction: the server may take most of a minute.
    """
    return await _run(runtime, server_id, await begin_sync(runtime, server_id, shown=False), SYSTEM, None)


async def finish_sync(
    runtime: Runtime, server_id: UUID, start: Start, caller: Caller, request_id: str | None
) -> Server:
    """Complete a started sync, as ``sync_server`` does; it never stays marked as running."""
    try:
        return await _run(runtime, server_id, start, caller, request_id)
    except (Exception, asyncio.CancelledError) as error:
        cancelled = isinstance(error, asyncio.CancelledError)
        reason = INTERRUPTED if cancelled else "The sync ended with an error: sync again."
        # If the database does not accept this either, a worker marks it as interrupted minutes later.
        with suppress(Exception):
            async with asyncio.timeout(_GIVE_UP_S), runtime.sessions() as session:
                await fail_sync(session, server_id, start.at, reason)
                await session.commit()
        raise


async def _run(
    runtime: Runtime, server_id: UUID, start: Start, caller: Caller, request_id: str | None
) -> Server:
    discovery: Discovery | DiscoveryFailed
    try:
        discovery = start.fault or await _discover(runtime, start)
    except DiscoveryFailed as failed:
        discovery = failed
    async with runtime.sessions() as session:
        server = await _apply(Change(session, caller, request_id, start.at), server_id, start, discovery)
        await commit(session)
    return server


async def begin_sync(runtime: Runtime, server_id: UUID, *, shown: bool = True) -> Start:
    """Start a sync for ``finish_sync``; ``shown`` marks it as running. Raises ``NotFound``."""
    async with runtime.sessions() as session:
        server = await get_server(session, SYSTEM, server_id)
        at = await current_time(session)
        fault = None
        try:
            credential = await open_credential(session, runtime.sealer, server)
        except UnsealingFault:
            reason = "The stored credential cannot be decrypted with the configured keys: set it again."
            credential, fault = OpenedCredential(), DiscoveryFailed("credential", reason)
        start = Start(at, _place(server), server.url or "", credential, fault)
        if server.transport == "stdio" and fault is None:
            start = _started(runtime, server, at, credential)
        if shown:
            await mark_sync(session, server_id, at)
            await session.commit()
        return start


def _started(runtime: Runtime, server: Server, at: datetime, credential: OpenedCredential) -> Start:
    """A command is read through the supervisor that runs it."""
    launch, supervisor = launch_of(server, credential), runtime.supervisor
    if launch is None or supervisor is None:
        reason = "It is a command, but this host runs none: set SCOPEGATE_STDIO_ALLOWED_COMMANDS."
        return Start(at, _place(server), "", credential, DiscoveryFailed("forbidden", reason))
    headers = supervisor.headers(launch, sync_holder(server.id))
    credential = replace(credential, headers=headers)
    return Start(at, _place(server), supervisor.target(server.id), credential)


def _place(server: Server) -> tuple[str | None, ...]:
    return server.url, server.command, *(server.args or ()), None, *(server.env_names or ())


async def _discover(runtime: Runtime, start: Start) -> Discovery:
    headers, client = start.credential.headers, start.credential.client
    if not isinstance(start.url, str):
        secrets = match_values(secret_values(start.credential.variables))
        return await discover(runtime.outbound, start.url, headers, budget=COMMAND_BUDGET, secrets=secrets)
    if client is not None:
        try:
            headers = (await runtime.client_tokens.header(client),)
        except TokenFault as fault:
            raise DiscoveryFailed("credential", f"There is no access token for it: {fault.reason}.") from None
    try:
        return await discover(runtime.outbound, start.url, headers)
    except DiscoveryFailed as failed:
        if failed.status == 401 and client is not None:
            runtime.client_tokens.refused(client.id, *headers)
        raise


async def _apply(
    change: Change, server_id: UUID, start: Start, discovery: Discovery | DiscoveryFailed
) -> Server:
    session, server = change.session, await lock_server(change, server_id, Precondition(None))
    if server.sync_started_at is not None and server.sync_started_at <= start.at:
        server.sync_started_at = None
    if server.sync_at is not None and server.sync_at > start.at:
        return server
    if _place(server) != start.place:
        detail = "The location of the server changed during the sync; sync again."
        raise Conflict(detail, code="server_changed")
    server.sync_at = start.at
    server.revision += 1
    if isinstance(discovery, DiscoveryFailed):
        is_known = (server.sync_state, server.sync_error) == ("error", discovery.reason)
        server.sync_state, server.sync_error = "error", discovery.reason
        server.sync_failures += 1
        if not (is_known and change.caller == SYSTEM):
            change.record(
                "server.sync", SERVER, server, server,
                details={"error": discovery.reason}, outcome="error", reason_code=discovery.kind, server_id=server.id,
            )  # fmt: skip
    else:
        await _take(change, server, start.at, discovery)
    # A refresh discards unflushed changes.
    await session.flush()
    await session.refresh(server)
    return server


async def _take(change: Change, server: Server, at: datetime, discovery: Discovery) -> None:
    """Store what a locked server offers. A server without earlier instructions gets its first text approved when its
    tools are, too."""
    session = change.session
    trusted = server.first_synced_at is None or server.new_tools == "allow"
    outcome = reconcile(
        server.id, await tools_of_server(session, server.id), discovery.definitions, trust_new=trusted, at=at
    )
    session.add_all(outcome.added)
    instructions_changed = server.instructions != discovery.instructions
    server.instructions = discovery.instructions
    approved = trusted and server.instructions is not None and server.approved_instructions is None
    if approved:
        server.approved_instructions = server.instructions
    versions, note = list(discovery.protocol_versions), discovery.note()
    is_changed = bool(outcome.touched) or approved or server.protocol_versions != versions
    is_news = is_changed or instructions_changed or (server.sync_state, server.sync_error) != ("ok", note)
    server.sync_state, server.sync_error = "ok", note
    if server.sync_failures:
        # Failures delayed the next sync; now it is due as any other.
        server.sync_failures, server.sync_due_at = 0, None
    server.protocol_versions = versions
    server.first_synced_at = server.first_synced_at or at
    if change.caller == SYSTEM and not is_news:
        # A server with an always malformed tool would request a sync with every list: no event each.
        return
    details = {**outcome.counts, "left_out": discovery.left_out, "protocol_versions": versions}
    if instructions_changed:
        details["instructions"] = instructions_state(server)
    event_id = change.record("server.sync", SERVER, server, server, details=details, server_id=server.id)
    for tool in outcome.touched:
        removed = tool.state == ToolState.REMOVED
        change.record_with(event_id, TOOL, tool if removed else None, None if removed else tool)
    if is_changed:
        change.move(widens=[server.id], narrows=[server.id] if outcome.narrows else [])


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
            finishing = finish_sync(runtime, server_id, start, caller, request_id)
            task = asyncio.create_task(finishing, name="sync")
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


CurrentSyncs = Annotated[RequestedSyncs, from_state("requested_syncs")]


async def mark_sync(session: AsyncSession, server_id: UUID, started_at: datetime) -> None:
    """Record that a requested sync is running."""
    await session.execute(
        update(Server)
        .where(col(Server.id) == server_id, col(Server.ended_at).is_(None))
        .values(sync_started_at=started_at, revision=col(Server.revision) + 1)
    )


async def fail_sync(session: AsyncSession, server_id: UUID, started_at: datetime, reason: str) -> None:
    """Record that a running sync failed, unless another has started since."""
    await session.execute(
        update(Server)
        .where(col(Server.id) == server_id, col(Server.sync_started_at) == started_at)
        .values(_ended_without_result(reason))
    )


async def fail_lost_syncs(session: AsyncSession, reason: str) -> int:
    """Record the failure of syncs that exceeded their time, since their worker was killed; return their number."""
    earliest = func.clock_timestamp() - MAX_SYNC_TIME
    lost = update(Server).where(col(Server.sync_started_at) < earliest).returning(col(Server.id))
    return len((await session.scalars(lost.values(_ended_without_result(reason)))).all())


def _ended_without_result(reason: str) -> dict[str, Any]:
    failed = {"sync_state": "error", "sync_error": reason, "sync_started_at": None}
    return {**failed, "revision": col(Server.revision) + 1}


async def claim_due(
    session: AsyncSession,
    interval: timedelta,
    limit: int,
    transports: Sequence[str] = ("streamable_http", "stdio"),
) -> list[UUID]:
    """Claim the servers that are due for a sync; they belong to this caller once it has committed."""
    bound = {"interval": interval, "most": limit, "most_doublings": MAX_DOUBLINGS}
    return list(await session.scalars(_CLAIM, {**bound, "transports": list(transports)}))
