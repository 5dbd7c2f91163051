"""The in-memory access snapshot: warm, a resolution reads no database.

What is in it may be stale at any time; admission finds out and asks for a refresh. A refresh only joins reads
that begin after it was asked, so that it never returns what made it necessary.

The database's clock as a worker knows it: its own clock plus a learned offset.

The published policies, read beside the fleet and compiled off the loop.

A set is read again when the version of the policy set has moved, and of its policies only those are taken apart that
were not in the last one.

The access snapshot of this worker, for whoever answers a request by it.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar
from uuid import UUID

import asyncpg
from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.access.credentials import credential_holders, launch_of, open_credential
from app.access.fresh_reads import READ_TIMEOUT_S, FreshBatches, FreshReads, Pace, Unreadable
from app.access.policy.compiled import CompiledPolicy, Mode, PublishedPolicy, compile_policy
from app.access.policy.evaluator import Evaluator, Rules
from app.access.reading import (
    Fleet,
    Holders,
    ReadFleet,
    TokenEntry,
    consistent,
    read_fleet,
    read_holders,
    read_tokens,
)
from app.crypto.keys import Peppers, Sealer
from app.db.connection import DRIVER_FAULTS
from app.db.rewinds import RewindGuard, WentBack
from app.domain.access import PolicyContext
from app.domain.objects import Server, Token
from app.domain.policy import GrantedIsAllowed, PolicyEvaluator
from app.domain.token_format import Credential
from app.lib.clock import boot_time
from app.lib.ids import POLICY, format_id
from app.lib.timeouts import in_time
from app.models.servers import Server as ServerRow
from app.outbound.client_tokens import ClientCredentials, ClientTokens, Header
from app.outbound.stdio import Launch


class DatabaseClock:
    """Expiry is judged by the database's clock alone; workers' wall clocks may be wrong."""

    def __init__(self) -> None:
        self._offset = time.time() - boot_time()
        self.known = False

    def now(self) -> float:
        """Unix seconds of the database, as far as this worker can know."""
        return boot_time() + self._offset

    def learn(self, database_time: float, sent: float, received: float) -> None:
        """Take over the database's time from an answer; ``sent`` and ``received`` are of ``boot_time``."""
        self._offset = database_time - (sent + received) / 2
        self.known = True


_PUBLISHED = """
SELECT id, version, published_text, published_mode FROM policies
WHERE status = 'published' AND ended_at IS NULL ORDER BY id
"""
_GRANTS_ALONE = GrantedIsAllowed()
_NAMED = 3


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadSet:
    """The policies of one version of the set: compiled already, or as they were read."""

    version: int
    evaluator: PolicyEvaluator | None
    policies: tuple[PublishedPolicy, ...] = ()


class PolicySets:
    """Makes evaluators of published policies; the one of the version that was asked for last is kept."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._kept: tuple[int, PolicyEvaluator] | None = None
        self._compiled: dict[PublishedPolicy, CompiledPolicy] = {}

    async def read(self, connection: Any, version: int) -> ReadSet:
        """Read the set of this version, unless it is the one that is kept. Runs inside ``consistent``."""
        if self._kept is not None and self._kept[0] == version:
            return ReadSet(*self._kept)
        rows = await connection.fetch(_PUBLISHED)
        policies = (
            PublishedPolicy(row["id"], row["version"], row["published_text"], Mode(row["published_mode"]))
            for row in rows
        )
        return ReadSet(version, None, tuple(policies))

    async def evaluator(self, read: ReadSet) -> PolicyEvaluator:
        """The evaluator of a set that was read."""
        if read.evaluator is not None:
            return read.evaluator
        # Off the loop: a thousand policies take a good part of a second.
        self._compiled = await asyncio.to_thread(self._taken_apart, read.policies)
        evaluator = self._made_of(self._compiled.values())
        self._kept = read.version, evaluator
        return evaluator

    def forget(self) -> None:
        """Read the set again, whatever its version."""
        self._kept = None

    def warnings(self) -> list[str]:
        """What whoever runs this worker should know of the set that was made last."""
        broken = [
            format_id(POLICY, policy.id) for policy, compiled in self._compiled.items() if compiled.fault
        ]
        if not broken:
            return []
        named = ", ".join(broken[:_NAMED]) + (" and others" if len(broken) > _NAMED else "")
        how_many = f"{len(broken)} published policies cannot be evaluated"
        return [f"{how_many}, and deny every call that they could be about unless they only observe: {named}"]

    def _taken_apart(self, policies: Sequence[PublishedPolicy]) -> dict[PublishedPolicy, CompiledPolicy]:
        return {policy: self._compiled.get(policy) or _compiled(policy) for policy in policies}

    def _made_of(self, policies: Collection[CompiledPolicy]) -> PolicyEvaluator:
        if not policies and self.rules.permits_by_default:
            return _GRANTS_ALONE
        return Evaluator(policies, self.rules)


def _compiled(policy: PublishedPolicy) -> CompiledPolicy:
    compiled = compile_policy(policy)
    if compiled.fault is not None:
        # It denies all that it could be about, and whoever published it had it accepted: the engine has changed.
        logger.error("policy %s: %s", format_id(POLICY, policy.id), compiled.fault)
    return compiled


Result = TypeVar("Result")
_Read = tuple[ReadFleet, ReadSet]
Choose = Callable[[Holders, Fleet], Awaitable[Collection[UUID] | None]]
"""Which servers of the fleet, as it is known, an answer about some holders looks at; ``None``: all."""
PREPARE_S = 30

# Look-ups of ids that are not in the snapshot, a worker; a flood of made-up ids waits here, not in the pool.
COLD_LOOKUPS = 3
COLD_QUEUE = 500

# Of the API, which must not keep calls waiting for a connection.
HOLDER_READS = 1
CAPACITY = 200_000
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


class LookupsExhausted(Exception):
    """Too many unknown credentials at once."""


class SnapshotUnavailable(Unreadable):
    """The database cannot be read now."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server's calls go. ``client`` is what the one header was fetched with, or is to be; ``launch`` is what
    a server is that has no URL."""

    url: str
    headers: tuple[Header, ...]
    protocol_versions: tuple[str, ...]
    client: ClientCredentials | None = None
    launch: Launch | None = None


@dataclass(slots=True)
class _Targets:
    """The targets of one version of a server: of each identity with a credential of its own, and of all others."""

    version: int
    holders: frozenset[UUID]
    _found: dict[UUID | None, Target] = field(default_factory=dict, repr=False)

    def of(self, identity_id: UUID) -> Target | None:
        return self._found.get(identity_id if identity_id in self.holders else None)

    def keep(self, identity_id: UUID, target: Target) -> None:
        self._found[identity_id if identity_id in self.holders else None] = target


@dataclass(frozen=True, slots=True)
class _Opening:
    """A credential object that was proven against an entry; the very same two need no second proof."""

    credential: Credential
    entry: TokenEntry
    token: Token
    until: float


class AccessSnapshot:
    """Tokens by id and the fleet, each part as it was read together with its version."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        sessions: async_sessionmaker[AsyncSession],
        peppers: Peppers,
        sealer: Sealer,
        client_tokens: ClientTokens,
        clock: DatabaseClock,
        rules: Rules | None = None,
        rewinds: RewindGuard | None = None,
    ) -> None:
        self._pool = pool
        self._sessions = sessions
        self._peppers = peppers
        self._sealer = sealer
        self._client_tokens = client_tokens
        self._rewinds = RewindGuard() if rewinds is None else rewinds
        self._rewinds.listeners.append(self._reset)
        self.policies = PolicySets(rules or Rules())
        self._tokens: OrderedDict[UUID, TokenEntry] = OrderedDict()
        self._token_reads = FreshBatches(self._read_tokens)
        self._fleet: tuple[Fleet, PolicyContext] | None = None
        self._fleet_reads = FreshReads(self._read_fleet)
        # Which servers the next read of the fleet compares with the database; ``None``: all.
        self._wanted: set[UUID] | None = None
        # How often something of it was forgotten, and how often when the last read that succeeded began.
        self._forgotten = self._forgotten_before = 0
        self._openings: dict[UUID, _Opening] = {}
        self._targets: dict[UUID, _Targets] = {}
        self._cold = asyncio.Semaphore(COLD_LOOKUPS)
        self._cold_waiting = 0
        self._holder_reads = asyncio.Semaphore(HOLDER_READS)
        self.clock = clock

    async def prepare(self) -> None:
        """Read the fleet, and compile the policies, before a call has to wait for it.

        Calls find out for themselves that the database is away.
        """
        with suppress(SnapshotUnavailable, TimeoutError):
            async with asyncio.timeout(PREPARE_S):
                await self._fleet_reads.result()

    def warm(self, credential: Credential) -> tuple[Token, Fleet, PolicyContext] | None:
        """What ``token`` and ``fleet`` give, when that takes no read."""
        entry = self._tokens.get(credential.id)
        token = None if entry is None else self._opened(entry, credential)
        known = self._known_fleet()
        return None if token is None or known is None else (token, *known)

    async def token(self, credential: Credential, *, fresh: bool = False) -> Token | None:
        """The token that a credential opens, with its span cut at the end of the secret; ``None`` if none.

        Raises ``SnapshotUnavailable`` and ``LookupsExhausted``.
        """
        entry = self._tokens.get(credential.id)
        if entry is None or fresh:
            # Whoever wants it fresh had it: it may be forgotten, and is no unknown one.
            entry = await self._load(credential.id, bounded=not fresh)
        elif not self._opened(entry, credential):
            # The secret may be newer than the snapshot: look once, under the budget of the unknown.
            entry = await self._load(credential.id, bounded=True)
        return None if entry is None else self._opened(entry, credential)

    def _opened(self, entry: TokenEntry, credential: Credential) -> Token | None:
        now = self.clock.now()
        known = self._openings.get(credential.id)
        if (
            known is not None
            and known.credential is credential
            and known.entry is entry
            and now < known.until
        ):
            return known.token
        for secret in entry.secrets:
            if now < secret.expires_at and self._peppers.matches(
                secret.pepper_key_id, secret.digest, credential.digest_input
            ):
                token = entry.token
                if secret.expires_at < token.expires_at:
                    token = replace(token, expires_at=secret.expires_at)
                if len(self._openings) >= CAPACITY:
                    self._openings.clear()
                self._openings[credential.id] = _Opening(credential, entry, token, secret.expires_at)
                return token
        return None

    async def fleet(
        self, *, fresh: bool = False, only: Collection[UUID] | None = None
    ) -> tuple[Fleet, PolicyContext]:
        """The fleet, and the versions that decisions rest on beside objects. Raises ``SnapshotUnavailable``.

        ``only`` are the servers that have to be ``fresh``; without it, all of them. Whatever is not is found out by its
        version when something is admitted that rests on it.
        """
        known = self._known_fleet()
        if known is not None and not fresh:
            return known
        if fresh and self._wanted is not None:
            self._wanted = None if only is None else self._wanted.union(only)
        async with _in_time():
            found: tuple[Fleet, PolicyContext] = await self._fleet_reads.result()
            return found

    @property
    def last_fleet(self) -> Fleet | None:
        """The fleet as it was read last, whatever was forgotten of it since; ``None`` before the first read."""
        return None if self._fleet is None else self._fleet[0]

    def _known_fleet(self) -> tuple[Fleet, PolicyContext] | None:
        """The fleet, unless something of it was forgotten since it was read."""
        return self._fleet if self._forgotten == self._forgotten_before else None

    async def live_token(self, token_id: UUID) -> Token | None:
        """A token as it is now, whoever presents it; ``None`` when there is none. Raises ``SnapshotUnavailable``."""
        entry = await self._load(token_id, bounded=False)
        return None if entry is None else entry.token

    async def holders(
        self, ids: Sequence[UUID], choose: Choose | None = None
    ) -> tuple[Holders, Fleet, PolicyContext]:
        """Those of the identities that exist, and the fleet, as they are now, read together. Raises
        ``SnapshotUnavailable``.

        Servers that have not changed since the snapshot are taken from it. ``choose`` says which are looked at, of a
        large fleet a part: none but these are compared with the database.
        """
        known, _ = await self.fleet()

        async def read(connection: Any) -> tuple[Holders, _Read]:
            holders = await read_holders(connection, ids)
            only = None if choose is None else await choose(holders, known)
            return holders, await self._read_shared(connection, known, only)

        async with _in_time(), self._holder_reads:
            holders, found = await self._reading(read)
            return holders, *await self._made(found)

    async def target(self, server: Server, identity_id: UUID) -> Target:
        """Where calls of an identity go in this version of a server, with its own credential or else the server's.

        Newer contents under an older version do no harm: the older version is never admitted again. Raises
        ``SnapshotUnavailable``, ``UnsealingFault`` and ``TokenFault``.
        """
        target = await self._stored_target(server, identity_id)
        if target.client is None:
            return target
        # No connection to the database is held here: the authorization server may take its time.
        return replace(target, headers=(await self._client_tokens.header(target.client),))

    def refused(self, client_id: UUID, headers: tuple[Header, ...]) -> None:
        """An upstream did not accept the token that was fetched with these client credentials."""
        for header in headers:
            self._client_tokens.refused(client_id, header)

    async def _stored_target(self, server: Server, identity_id: UUID) -> Target:
        known = self._targets.get(server.id)
        if known is not None and known.version == server.version:
            target = known.of(identity_id)
            if target is not None:
                return target
        try:
            targets, found = await in_time(READ_TIMEOUT_S, self._read_target(server, identity_id, known))
        except DRIVER_FAULTS as error:
            raise SnapshotUnavailable from error
        targets.keep(identity_id, found)
        self._targets[server.id] = targets
        return found

    async def _read_target(
        self, server: Server, identity_id: UUID, known: _Targets | None
    ) -> tuple[_Targets, Target]:
        async with self._sessions() as session:
            row = await session.get(ServerRow, server.id)
            if row is None:
                raise SnapshotUnavailable
            if known is None or known.version != server.version:
                known = _Targets(server.version, await credential_holders(session, server.id))
            opened = await open_credential(session, self._sealer, row, identity_id)
            versions, launch = tuple(row.protocol_versions), launch_of(row, opened)
            return known, Target(row.url or "", opened.headers, versions, opened.client, launch)

    def forget(self, ids: set[UUID] | None) -> None:
        """Drop what a notification named (``None``: everything), so that the next look is fresh, and nothing stays of
        what is no more."""
        if ids is None:
            for kept in (self._tokens, self._openings, self._targets):
                kept.clear()
            self._forgotten += 1
            self._wanted = None
            return
        for id in ids:
            for kept in (self._tokens, self._openings, self._targets):
                kept.pop(id, None)
        if self._fleet is not None and (servers := ids & self._fleet[0].servers.keys()):
            self._forgotten += 1
            self._wanted = None if self._wanted is None else self._wanted | servers

    async def _load(self, token_id: UUID, *, bounded: bool) -> TokenEntry | None:
        async with _in_time():
            if not bounded:
                entry = await self._token_reads.result(token_id)
            else:
                entry = await self._load_within_budget(token_id)
        return entry  # type: ignore[no-any-return]

    async def _load_within_budget(self, token_id: UUID) -> Any:
        if self._cold_waiting >= COLD_QUEUE:
            raise LookupsExhausted
        self._cold_waiting += 1
        try:
            async with self._cold:
                return await self._token_reads.result(token_id)
        finally:
            self._cold_waiting -= 1

    async def _read_tokens(self, ids: Collection[UUID]) -> Mapping[UUID, TokenEntry]:
        before = {id: self._tokens.get(id) for id in ids}
        found = await self._reading(lambda connection: read_tokens(connection, ids))
        for id in ids:
            entry, known = found.get(id), before[id]
            if entry is None:
                self._tokens.pop(id, None)
                continue
            if known is not None and _is_older(entry.token, known.token):
                self._fell()
            self._tokens[id] = entry
            self._tokens.move_to_end(id)
            if len(self._tokens) > CAPACITY:
                self._tokens.popitem(last=False)
        return found

    async def _read_fleet(self) -> tuple[Fleet, PolicyContext]:
        known = self.last_fleet
        only, self._wanted = self._wanted, set()
        forgotten = self._forgotten
        try:
            found = await self._reading(
                lambda connection: self._read_shared(connection, known, only), in_pieces=True
            )
            self._fleet = await self._made(found)
        except BaseException:
            self._wanted = None if only is None or self._wanted is None else self._wanted | only
            raise
        self._forgotten_before = forgotten
        return self._fleet

    async def _read_shared(
        self, connection: Any, known: Fleet | None, only: Collection[UUID] | None = None
    ) -> _Read:
        fleet = await read_fleet(connection, known, only)
        if known is not None and (fleet.version, fleet.policy_version) < (
            known.version,
            known.policy_version,
        ):
            self._fell()
        return fleet, await self.policies.read(connection, fleet.policy_version)

    def _fell(self) -> None:
        try:
            self._rewinds.fell()
        except WentBack as fault:
            raise SnapshotUnavailable(str(fault)) from None

    def _reset(self) -> None:
        """Forget all that was read of a database that was restored since."""
        self.forget(None)
        self._fleet = None
        self.policies.forget()

    async def _made(self, found: _Read) -> tuple[Fleet, PolicyContext]:
        """What was read, as decisions take it: the very same surroundings while nothing in them has changed."""
        # Off the loop, and with no transaction open: many tools, or policies, take a good part of a second.
        fleet = await asyncio.to_thread(found[0].made)
        context = PolicyContext(fleet.version, fleet.policy_version, await self.policies.evaluator(found[1]))
        if self._fleet is not None and self._fleet[1] == context:
            context = self._fleet[1]
        return fleet, context

    async def _reading(self, read: Callable[[Any], Awaitable[Result]], *, in_pieces: bool = False) -> Result:
        started = boot_time()
        try:
            async with self._pool.acquire(timeout=READ_TIMEOUT_S) as connection:
                # A cancelled read would still wait for its rollback: on a silent network only a cut ends it.
                pace = Pace(connection, in_pieces=in_pieces)
                try:
                    async with consistent(connection):
                        result = await read(pace)
                        if self._rewinds.reason is not None:
                            raise SnapshotUnavailable(self._rewinds.reason)
                        if not self.clock.known:
                            at = await connection.fetchval(_NOW)
                            self.clock.learn(at, started, boot_time())
                        return result
                finally:
                    pace.end()
        except DRIVER_FAULTS as error:
            raise SnapshotUnavailable from error


def _is_older(token: Token, known: Token) -> bool:
    """Whether a version is lower than one that was read before."""
    whose, before = token.identity, known.identity
    return token.version < known.version or (whose.id == before.id and whose.version < before.version)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Bounds the wait of one caller, however many reads it has to wait for. Raises ``SnapshotUnavailable``."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise SnapshotUnavailable from error


async def get_snapshot(request: Request) -> AccessSnapshot:
    snapshot: AccessSnapshot = request.app.state.access
    return snapshot


CurrentSnapshot = Annotated[AccessSnapshot, Depends(get_snapshot)]
