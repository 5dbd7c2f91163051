"""Sync a server: read its tools without a database connection, then reconcile the stored ones.

Two syncs of one server may read at the same time, but apply one at a time (under the lock of the server's row). The one
that started earlier gives way, so that an older result never overwrites a newer one.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.credentials import Headers, OpenedCredential, launch_of, open_credential
from app.crypto.keys import Sealer, UnsealingFault
from app.db.engine import commit
from app.db.versions import move_versions
from app.domain.errors import Conflict, NotFound
from app.features.audit.record import record
from app.features.servers import instructions
from app.features.servers import queries as servers
from app.features.servers.schemas import instructions_state
from app.features.tools import queries
from app.features.tools.catalogue import reconcile
from app.features.tools.discovery import COMMAND_BUDGET, Discovery, DiscoveryFailed, discover
from app.features.tools.history import keep_definitions
from app.http.authorization import Caller, Role
from app.http.runtime import Runtime
from app.models.servers import Server
from app.outbound.client_tokens import TokenFault
from app.outbound.http import Target
from app.outbound.stdio import secret_values, sync_holder

# The actor of background syncs, after a changed definition was noticed.
SYSTEM = Caller("system", UUID(int=0), frozenset({Role.ADMIN}))
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


async def sync_server(
    runtime: Runtime, server_id: UUID, caller: Caller | None = None, *, request_id: str | None = None
) -> Server:
    """Read a server's tools and reconcile the stored ones; return the server's row.

    A server that does not answer properly gets the sync state ``error`` with the reason, and nothing else changes.
    Raises ``NotFound``, ``Conflict`` (``server_changed``: its location changed) and ``Unavailable``. Call it without an
    open transaction: the server may take most of a minute.
    """
    return await _run(runtime, server_id, await _begin(runtime, server_id, shown=False), caller, request_id)


async def begin_sync(runtime: Runtime, server_id: UUID) -> Start:
    """Mark a sync as running, for ``finish_sync``. Raises ``NotFound``."""
    return await _begin(runtime, server_id, shown=True)


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
                await servers.fail_sync(session, server_id, start.at, reason)
                await session.commit()
        raise


async def _run(
    runtime: Runtime, server_id: UUID, start: Start, caller: Caller | None, request_id: str | None
) -> Server:
    discovery: Discovery | DiscoveryFailed
    try:
        discovery = start.fault or await _discover(runtime, start)
    except DiscoveryFailed as failed:
        discovery = failed
    async with runtime.sessions() as session:
        server = await _apply(session, server_id, start, discovery, caller or SYSTEM, request_id)
        await commit(session)
    return server


async def _begin(runtime: Runtime, server_id: UUID, *, shown: bool) -> Start:
    async with runtime.sessions() as session:
        server = await servers.find(session, server_id)
        if server is None:
            raise NotFound("There is no such server.")
        at = await servers.database_time(session)
        credential, fault = await _credential(session, runtime.sealer, server)
        start = Start(at, _place(server), server.url or "", credential, fault)
        if server.transport == "stdio" and fault is None:
            start = _started(runtime, server, at, credential)
        if shown:
            await servers.mark_sync(session, server_id, at)
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
    if isinstance(start.url, str):
        headers = await _headers(runtime, start)
        try:
            return await discover(runtime.outbound, start.url, headers)
        except DiscoveryFailed as failed:
            if failed.status == 401 and start.credential.client is not None:
                runtime.client_tokens.refused(start.credential.client.id, *headers)
            raise
    return await discover(
        runtime.outbound,
        start.url,
        start.credential.headers,
        budget=COMMAND_BUDGET,
        secrets=secret_values(start.credential.variables),
    )


async def _credential(
    session: AsyncSession, sealer: Sealer, server: Server
) -> tuple[OpenedCredential, DiscoveryFailed | None]:
    try:
        return await open_credential(session, sealer, server), None
    except UnsealingFault:
        reason = "The stored credential cannot be decrypted with the configured keys: set it again."
        return OpenedCredential(), DiscoveryFailed("credential", reason)


async def _headers(runtime: Runtime, start: Start) -> Headers:
    if start.credential.client is None:
        return start.credential.headers
    try:
        return (await runtime.client_tokens.header(start.credential.client),)
    except TokenFault as fault:
        raise DiscoveryFailed("credential", f"There is no access token for it: {fault.reason}.") from None


async def _apply(
    session: AsyncSession,
    server_id: UUID,
    start: Start,
    discovery: Discovery | DiscoveryFailed,
    caller: Caller,
    request_id: str | None,
) -> Server:
    server = await servers.lock(session, server_id)
    if server is None:
        raise NotFound("There is no such server.")
    if server.sync_started_at is not None and server.sync_started_at <= start.at:
        server.sync_started_at = None
    if server.sync_at is not None and server.sync_at > start.at:
        return server
    if _place(server) != start.place:
        raise Conflict(
            "The location of the server changed during the sync; sync again.", code="server_changed"
        )
    server.sync_at = start.at
    server.revision += 1
    if isinstance(discovery, DiscoveryFailed):
        is_known = (server.sync_state, server.sync_error) == ("error", discovery.reason)
        server.sync_state, server.sync_error = "error", discovery.reason
        server.sync_failures += 1
        if not (is_known and caller == SYSTEM):
            await record(
                session, caller, "server.sync", "server", server.id, outcome="error", reason_code=discovery.kind,
                changes={"error": discovery.reason}, request_id=request_id, server_id=server.id,
            )  # fmt: skip
    else:
        await _take(session, server, discovery, caller, request_id)
    # A refresh discards unflushed changes.
    await session.flush()
    await session.refresh(server)
    return server


async def _take(
    session: AsyncSession, server: Server, discovery: Discovery, caller: Caller, request_id: str | None
) -> None:
    trusted = server.first_synced_at is None or server.new_tools == "allow"
    outcome = reconcile(
        server.id,
        await queries.of_server(session, server.id),
        discovery.definitions,
        trust_new=trusted,
        at=server.sync_at or await servers.database_time(session),
    )
    session.add_all(outcome.added)
    for row in outcome.changed:
        row.revision += 1
    spoken = list(discovery.protocol_versions)
    instructions_changed, approved = instructions.update_latest(
        server, discovery.instructions, trusted=trusted
    )
    is_changed = bool(outcome.touched) or approved or server.protocol_versions != spoken
    is_news = (
        is_changed
        or instructions_changed
        or (server.sync_state, server.sync_error) != ("ok", discovery.note())
    )
    server.sync_state, server.sync_error = "ok", discovery.note()
    if server.sync_failures:
        # Failures delayed the next sync; now it is due as any other.
        server.sync_failures, server.sync_due_at = 0, None
    server.protocol_versions = spoken
    server.first_synced_at = server.first_synced_at or server.sync_at
    await session.flush()
    await keep_definitions(session, outcome.touched)
    if is_changed:
        await move_versions(session, [server.id], narrows=outcome.narrows)
    if caller == SYSTEM and not is_news:
        # A server with an always malformed tool would request a sync with every list: no event each.
        return
    changes = {**outcome.counts, "left_out": discovery.left_out, "protocol_versions": spoken}
    if instructions_changed:
        changes["instructions"] = instructions_state(server)
    await record(
        session, caller, "server.sync", "server", server.id,
        changes=changes, request_id=request_id, server_id=server.id,
    )  # fmt: skip
