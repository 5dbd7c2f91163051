"""The gateway's ports, implemented by features: translation only, no decisions.

Workers share session notes in PostgreSQL, and send each other messages on a channel.

Messages may be lost, which delays or omits an effect; access never depends on them.

Uses are collected in memory when a call is admitted, and written once per minute.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Collection, Generator
from contextlib import suppress
from uuid import UUID

from sqlalchemy import delete, func, or_, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.access.fresh_reads import READ_TIMEOUT_S
from app.access.grant_uses import TOOLS, Use, User, write_uses
from app.access.snapshot import AccessSnapshot, DatabaseClock, LookupsExhausted, SnapshotUnavailable
from app.admission.clients import Clients, Refusal, Refusals
from app.admission.in_flight import InFlightTable
from app.admission.store import (
    Call,
    Client,
    CredentialUnavailable,
    Notes,
    Reevaluated,
    StoreUnavailable,
    TooManyLookups,
    UpstreamTarget,
    View,
)
from app.db.engine import CONNECTION_ERRORS, commit
from app.db.versions import move_versions
from app.domain.access import Decision
from app.domain.directory import within
from app.domain.errors import Unavailable
from app.domain.objects import Part, Server, Token
from app.domain.token_format import Credential
from app.domain.unused_access import grants_giving
from app.features.tokens.queries import among
from app.gateway import Gateway
from app.lib.event_loop import Turns, in_slices, with_timeout
from app.models.tokens import EndedSession, SessionNote, TokenUse
from app.models.tokens import Token as TokenRow
from app.outbound.client_tokens import TokenFault
from app.worker.commands import Commands

USE_FLUSH_S = 60.0
_DECIDED_IN_A_TURN = 8
AWAY = (Unavailable, SQLAlchemyError, *CONNECTION_ERRORS)
"""The errors of an unavailable database. A ``TimeoutError`` is an ``OSError``."""


class SnapshotPort:
    """Implements ``admission.store.Snapshots`` with the access snapshot."""

    def __init__(self, snapshot: AccessSnapshot, commands: Commands) -> None:
        self._snapshot = snapshot
        self._commands = commands

    async def resolve(self, credential: Credential, client: Client) -> View | None:
        warm = self._snapshot.warm(credential)
        if warm is not None:
            token, fleet, context = warm
            return View(token, context, fleet.by_slug, credential, fleet.directory)
        return await self._view(credential, fresh=False)

    async def refresh(self, view: View, about: Collection[UUID] = ()) -> View | None:
        return await self._view(view.credential, fresh=True, about=about)

    async def _view(
        self, credential: Credential, *, fresh: bool, about: Collection[UUID] = ()
    ) -> View | None:
        try:
            # Each read has a deadline, which also limits the wait for a concurrent read.
            async with asyncio.timeout(READ_TIMEOUT_S):
                token = await self._snapshot.token(credential, fresh=fresh)
                if token is None:
                    return None
                only = self._stale_servers(token, about) if fresh else None
                fleet, context = await self._snapshot.fleet(fresh=fresh, only=only)
        except (SnapshotUnavailable, TimeoutError) as error:
            raise StoreUnavailable(*error.args) from error
        except LookupsExhausted as error:
            raise TooManyLookups from error
        return View(token, context, fleet.by_slug, credential, fleet.directory)

    def _stale_servers(self, token: Token, about: Collection[UUID]) -> Collection[UUID] | None:
        """The servers to read again, by the token's current rights and the current fleet; ``None``: all. The view of a
        stream may be hours old, without servers that were added since."""
        known = self._snapshot.last_fleet
        if known is None:
            return None
        reached = within(token, known.directory)
        if len(reached) == len(known.servers):
            return None
        return {server.id for server in reached}.union(id for id in about if id in known.servers)

    async def target(self, server: Server, token: Token) -> UpstreamTarget:
        try:
            found = await self._snapshot.target(server, token.identity.id)
            if found.launch is not None:
                return await self._commands.target(found.launch, found, server, token)
        except (SnapshotUnavailable, *AWAY) as error:
            raise StoreUnavailable from error
        except TokenFault as fault:
            raise CredentialUnavailable(fault.reason, passing=fault.passing) from None
        client = None if found.client is None else found.client.id
        return UpstreamTarget(found.url, found.headers, found.protocol_versions, client)

    def credential_refused(self, target: UpstreamTarget) -> None:
        if target.client is not None:
            self._snapshot.refused(target.client, target.headers)

    def now(self) -> float:
        return self._snapshot.clock.now()


class RefusedSignIns:
    """Counts invalid credentials at the API, by source address."""

    def __init__(self, refusals: Refusals, clients: Clients) -> None:
        self._refusals = refusals
        self._clients = clients

    def count(self, address: str | None) -> None:
        """Count one. The name that a client gives itself is not kept, since each new name would add two rows."""
        client_id, row = self._clients.name(address, None, None, None)
        self._refusals.count(Refusal("api_credential_refused", client_id), row)


class InFlightPort:
    """Implements ``admission.store.InFlight`` with the in-flight table."""

    def __init__(self, table: InFlightTable, snapshots: SnapshotPort) -> None:
        self._table = table
        self._snapshots = snapshots
        self._turns = Turns(_DECIDED_IN_A_TURN)

    def enter(self, call: Call, view: View, request: Reevaluated, cut: Callable[[], None]) -> None:
        approvals = frozenset(call.decision.asks)

        async def again() -> Decision | None:
            # One change may cause thousands of decisions.
            await self._turns.take()
            fresh = await self._snapshots.refresh(view, [id for id, _ in call.decision.depends_on])
            await self._turns.take()
            return None if fresh is None else request.reevaluate(fresh, self._snapshots.now(), approvals)

        self._table.enter(call.id, call.decision, again, cut)

    def confirmed_at(self, call_id: UUID) -> float:
        return self._table.confirmed_at(call_id)

    def leave(self, call_id: UUID) -> None:
        self._table.leave(call_id)


class EndedSessionsPort:
    """Implements ``admission.store.EndedSessions`` in PostgreSQL, so that an end holds everywhere and is permanent."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def end(self, session_id: UUID, token_id: UUID) -> None:
        try:
            await with_timeout(READ_TIMEOUT_S, self._end(session_id, token_id))
        except AWAY as error:
            raise StoreUnavailable from error

    async def _end(self, session_id: UUID, token_id: UUID) -> None:
        async with self._sessions() as session:
            statement = insert(EndedSession).values(session_id=session_id, token_id=token_id)
            await session.execute(statement.on_conflict_do_nothing())
            await session.execute(delete(SessionNote).where(col(SessionNote.session_id) == session_id))
            # Calls of the session depend on its version being 0, which this commit changes.
            await move_versions(session, [session_id], narrows=True)
            await commit(session)

    async def has_ended(self, session_id: UUID) -> bool:
        try:
            return await with_timeout(READ_TIMEOUT_S, self._has_ended(session_id))
        except AWAY as error:
            raise StoreUnavailable from error

    async def _has_ended(self, session_id: UUID) -> bool:
        async with self._sessions() as session:
            return await session.get(EndedSession, session_id) is not None


class TokenUses:
    """Last uses of tokens: collected in memory, written once per minute, never during a call."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._used: set[UUID] = set()

    def note(self, token_id: UUID) -> None:
        self._used.add(token_id)

    async def flush(self) -> None:
        """Write the collected uses. Raises database errors, and then keeps them."""
        used, self._used = sorted(self._used), set()
        if not used:
            return
        try:
            await self._write(used)
        except BaseException:
            self._used.update(used)
            raise

    async def _write(self, used: list[UUID]) -> None:
        from_tokens = select(col(TokenRow.id), func.clock_timestamp()).where(among(col(TokenRow.id), used))
        statement = insert(TokenUse).from_select(["token_id", "last_used_at"], from_tokens)
        async with self._sessions() as session:
            await session.execute(
                statement.on_conflict_do_update(
                    index_elements=["token_id"], set_={"last_used_at": statement.excluded.last_used_at}
                )
            )
            gone = or_(
                col(TokenRow.expires_at) < func.clock_timestamp(), col(TokenRow.revoked_at).is_not(None)
            )
            ended = select(col(TokenRow.id)).where(gone)
            await session.execute(delete(SessionNote).where(col(SessionNote.token_id).in_(ended)))
            await session.commit()

    async def run(self) -> None:
        """Flush once per minute until cancelled; an unavailable database is retried after a minute."""
        while True:
            await asyncio.sleep(USE_FLUSH_S)
            try:
                await self.flush()
            except AWAY:
                continue


CHANNEL = "scopegate_sessions"
BATCH_S = 0.05
MAX_WAITING = 1_000


_NOTIFY = text("SELECT pg_notify(:channel, payload) FROM unnest(CAST(:payloads AS text[])) AS t(payload)")


class SessionNotesPort:
    """Implements ``admission.store.SessionNotes``: a row for each session that asked a question."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions

    async def read(self, session_id: UUID) -> Notes:
        try:
            return await with_timeout(READ_TIMEOUT_S, self._read(session_id))
        except AWAY as error:
            raise StoreUnavailable from error

    async def _read(self, session_id: UUID) -> Notes:
        async with self._sessions() as session:
            return _notes(await session.get(SessionNote, session_id))

    async def change(self, session_id: UUID, token_id: UUID, change: Callable[[Notes], Notes]) -> Notes:
        try:
            return await with_timeout(READ_TIMEOUT_S, self._change(session_id, token_id, change))
        except AWAY as error:
            raise StoreUnavailable from error

    async def _change(self, session_id: UUID, token_id: UUID, change: Callable[[Notes], Notes]) -> Notes:
        async with self._sessions() as session:
            row = insert(SessionNote).values(session_id=session_id, token_id=token_id, subscriptions=[])
            await session.execute(row.on_conflict_do_nothing())
            this = select(SessionNote).where(col(SessionNote.session_id) == session_id)
            note = (await session.execute(this.with_for_update())).scalar_one()
            before = _notes(note)
            notes = change(before)
            if notes == before:
                return notes
            note.log_level, note.subscriptions = notes.log_level, sorted(notes.subscriptions)
            payload = json.dumps([session_id.hex])
            await session.execute(_NOTIFY, {"channel": CHANNEL, "payloads": [payload]})
            await commit(session)
            return notes


def _notes(row: SessionNote | None) -> Notes:
    return Notes() if row is None else Notes(row.log_level, frozenset(row.subscriptions))


class NeighboursPort:
    """Implements ``admission.store.Neighbours``, with few batched notifications: NOTIFY serializes commits."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._waiting: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING)
        self.gateway: Gateway | None = None
        """The receiver of other workers' messages; set once it exists."""

    def tell_cancelled(self, session_id: UUID, request_id: str | int) -> None:
        if not self._waiting.full():
            self._waiting.put_nowait(json.dumps([session_id.hex, request_id]))

    def hear(self, payload: str | None) -> None:
        """Forward a message of a worker, including this one; ``None`` if some may have been missed."""
        if self.gateway is None:
            return
        if payload is None:
            self.gateway.forget_notes(None)
            return
        session, *request = json.loads(payload)
        if request:
            self.gateway.cancel_call(UUID(hex=session), request[0])
        else:
            self.gateway.forget_notes(UUID(hex=session))

    async def run(self) -> None:
        """Send messages until cancelled; those that cannot be sent are dropped."""
        while True:
            payloads = [await self._waiting.get()]
            await asyncio.sleep(BATCH_S)
            while not self._waiting.empty():
                payloads.append(self._waiting.get_nowait())
            try:
                async with self._sessions() as session:
                    await session.execute(_NOTIFY, {"channel": CHANNEL, "payloads": payloads})
                    await session.commit()
            except AWAY:
                continue


log = logging.getLogger(__name__)


MAX_NOTED = 50_000
"""The number of different uses that triggers a write; twice as many are kept while writes fail."""
_PARTS: dict[str, Part | None] = {
    "tool.call": None,
    "resource.read": Part.RESOURCES,
    "resource.subscribe": Part.RESOURCES,
    "prompt.get": Part.PROMPTS,
}
"""The part of a server that an action uses. Lists do not count, since clients request all lists when they start."""


_Key = tuple[int, int, str, str | None]


class GrantUses:
    """Uses of grants. When they are written, the grants that allowed them are determined: all that match."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], clock: DatabaseClock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._noted: dict[_Key, tuple[Token, Server, Part | None, str | None]] = {}
        self._many = asyncio.Event()
        self._lost = False

    def note(self, call: Call) -> None:
        """Record an admitted call that uses a part of a server."""
        server, action = call.server, call.action
        if server is None or action not in _PARTS:
            return
        # Keyed by object identity, which is fast; the objects are kept, so that no address is reused.
        key = (id(call.token), id(server), action, call.tool)
        if key in self._noted:
            return
        if len(self._noted) >= MAX_NOTED:
            self._many.set()
            if len(self._noted) >= 2 * MAX_NOTED:
                self._lost = True
                return
        self._noted[key] = (call.token, server, _PARTS[action], call.tool)

    async def flush(self) -> None:
        """Write the collected uses. Raises database errors, and then keeps them."""
        noted, self._noted = self._noted, {}
        self._many.clear()
        if not noted:
            return
        try:
            uses, users = await in_slices(self._rows(list(noted.values())))
            async with self._sessions() as session:
                await write_uses(session, uses, users)
        except BaseException:
            self._noted = noted | self._noted
            raise
        if self._lost:
            self._lost = False
            log.warning("More uses than could be written: some uses of grants were not recorded.")

    def _rows(
        self, noted: list[tuple[Token, Server, Part | None, str | None]]
    ) -> Generator[None, None, tuple[set[Use], set[User]]]:
        uses: set[Use] = set()
        users: set[User] = set()
        now = self._clock.now()
        for token, server, part, tool in noted:
            yield
            name = None if part is not None else tool
            for link in token.chain():
                for grant_id in grants_giving(link.identity, server, name, part, now):
                    uses.add((grant_id, server.id, TOOLS if part is None else part.value, name or ""))
                    users.add((grant_id, link.identity.id))
        return uses, users

    async def run(self) -> None:
        """Flush once per minute, or after many uses, until cancelled; an unavailable database is retried."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(USE_FLUSH_S):
                    await self._many.wait()
            try:
                await self.flush()
            except (Unavailable, SQLAlchemyError, OSError):
                await asyncio.sleep(USE_FLUSH_S)


class CallUses:
    """The uses of each admitted call: of its token, and of the grants that allowed it."""

    def __init__(self, tokens: TokenUses, grants: GrantUses) -> None:
        self.tokens = tokens
        self.grants = grants

    def note(self, call: Call, *, runs: bool) -> None:
        """Record a recorded call; a call that does not run uses no grant."""
        self.tokens.note(call.token.id)
        if runs:
            self.grants.note(call)

    async def flush(self) -> None:
        """Write both kinds of uses."""
        try:
            await self.tokens.flush()
        finally:
            await self.grants.flush()

    async def run(self) -> None:
        """Write both periodically, until cancelled."""
        await asyncio.gather(self.tokens.run(), self.grants.run())


def uses_of(sessions: async_sessionmaker[AsyncSession], clock: DatabaseClock) -> CallUses:
    """Collect the uses of a worker's calls."""
    return CallUses(TokenUses(sessions), GrantUses(sessions, clock))
