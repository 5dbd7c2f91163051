"""The in-memory access snapshot of a worker, its compiled policies and its database clock.

A warm snapshot resolves tokens without a database read. Its data can be stale at any time; admission detects this and
requests a refresh. A refresh uses only reads that begin after it was requested, so that it never returns the stale
data.

The policies are read with the fleet when the version of the policy set has changed. Only new ones are compiled, in a
thread.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.access import reading
from app.access.credentials import credential_holders, launch_of, open_credential
from app.access.fresh_reads import READ_TIMEOUT_S, FreshBatches, FreshReads, ReadTimeout
from app.access.policy.compiled import CompiledPolicy, Mode, PublishedPolicy, compile_policy
from app.access.policy.evaluator import Evaluator, Rules
from app.crypto.keys import Peppers, Sealer
from app.db.clock import DatabaseClock
from app.db.connection import DRIVER_FAULTS
from app.db.engine import DATABASE_FAULTS
from app.db.rewinds import DatabaseRewound, RewindGuard
from app.domain.access import PolicyContext
from app.domain.errors import StoreUnavailable, TooManyLookups
from app.domain.objects import Server, Token
from app.domain.policy import GrantedIsAllowed, PolicyEvaluator
from app.domain.token_format import Credential
from app.http.runtime import from_state
from app.lib.clock import boot_time
from app.lib.event_loop import with_timeout
from app.lib.ids import POLICY, format_id
from app.models.servers import Server as ServerRow
from app.outbound.client_tokens import ClientTokens, Header, UpstreamTarget

_READ_PUBLISHED = """
SELECT id, version, published_text, published_mode FROM policies
WHERE status = 'published' AND ended_at IS NULL ORDER BY id
"""
_WITHOUT_POLICIES = GrantedIsAllowed()
_MAX_NAMED = 3


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReadSet:
    """The policy set of one version: the cached evaluator, or the policies that were read."""

    version: int
    evaluator: PolicyEvaluator | None
    policies: tuple[PublishedPolicy, ...] = ()


class PolicySets:
    """Creates evaluators of published policies, and caches the last one."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._kept: tuple[int, PolicyEvaluator] | None = None
        self._compiled: dict[PublishedPolicy, CompiledPolicy] = {}

    async def read(self, connection: Any, version: int) -> ReadSet:
        """Read the set of this version, unless it is cached. Runs inside ``consistent``."""
        if self._kept is not None and self._kept[0] == version:
            return ReadSet(*self._kept)
        rows = await connection.fetch(_READ_PUBLISHED)
        policies = (
            PublishedPolicy(row["id"], row["version"], row["published_text"], Mode(row["published_mode"]))
            for row in rows
        )
        return ReadSet(version, None, tuple(policies))

    async def evaluator(self, read: ReadSet) -> PolicyEvaluator:
        """The evaluator of a set."""
        if read.evaluator is not None:
            return read.evaluator
        # In a thread, since a thousand policies take a large part of a second.
        self._compiled = await asyncio.to_thread(
            lambda: {policy: self._compiled.get(policy) or _compiled(policy) for policy in read.policies}
        )
        evaluator: PolicyEvaluator = _WITHOUT_POLICIES
        if self._compiled or not self.rules.permits_by_default:
            evaluator = Evaluator(self._compiled.values(), self.rules)
        self._kept = read.version, evaluator
        return evaluator

    def forget(self) -> None:
        """Read the set again, even if its version is unchanged."""
        self._kept = None

    def warnings(self) -> list[str]:
        """Warnings for operators about the last policy set."""
        broken = [
            format_id(POLICY, policy.id) for policy, compiled in self._compiled.items() if compiled.fault
        ]
        if not broken:
            return []
        named = ", ".join(broken[:_MAX_NAMED]) + (" and others" if len(broken) > _MAX_NAMED else "")
        how_many = f"{len(broken)} published policies cannot be evaluated"
        return [f"{how_many}, and deny every call in their scope unless they only observe: {named}"]


def _compiled(policy: PublishedPolicy) -> CompiledPolicy:
    compiled = compile_policy(policy)
    if compiled.fault is not None:
        # It denies all calls in its scope. It was valid when it was published, so the engine has changed.
        logger.error("policy %s: %s", format_id(POLICY, policy.id), compiled.fault)
    return compiled


Result = TypeVar("Result")
_RawFleet = tuple[reading.ReadFleet, ReadSet]
Choose = Callable[[reading.Holders, reading.Fleet], Awaitable[Collection[UUID] | None]]
"""Selects the servers to read for some holders; ``None`` means all."""
PREPARE_S = 30

# Concurrent lookups of ids that are not in the snapshot, so that a flood of invented ids does not fill the pool.
COLD_LOOKUPS = 3
COLD_QUEUE = 500

# Concurrent reads for the API, which must not take connections from calls.
HOLDER_READS = 1
CAPACITY = 200_000
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


@dataclass(slots=True)
class _ServerTargets:
    """The targets of one version of a server: one per identity with its own credential, and one for all others."""

    version: int
    holders: frozenset[UUID]
    _found: dict[UUID | None, UpstreamTarget] = field(default_factory=dict, repr=False)

    def of(self, identity_id: UUID) -> UpstreamTarget | None:
        return self._found.get(identity_id if identity_id in self.holders else None)

    def keep(self, identity_id: UUID, target: UpstreamTarget) -> None:
        self._found[identity_id if identity_id in self.holders else None] = target


@dataclass(frozen=True, slots=True)
class _VerifiedCredential:
    """A credential object that was verified against an entry, cached for the same two objects."""

    credential: Credential
    entry: reading.TokenEntry
    token: Token
    until: float


class AccessSnapshot:
    """Tokens by id, and the fleet, each with its version."""

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
        self._tokens: OrderedDict[UUID, reading.TokenEntry] = OrderedDict()
        self._token_reads = FreshBatches(self._read_tokens)
        self._fleet: tuple[reading.Fleet, PolicyContext] | None = None
        self._fleet_reads = FreshReads(self._read_fleet)
        # The servers that the next read of the fleet compares with the database; ``None`` for all.
        self._stale_servers: set[UUID] | None = None
        # The number of invalidations of the fleet, and that number when the last successful read began.
        self._changes = self._changes_read = 0
        self._verified: dict[UUID, _VerifiedCredential] = {}
        self._targets: dict[UUID, _ServerTargets] = {}
        self._cold = asyncio.Semaphore(COLD_LOOKUPS)
        self._cold_waiting = 0
        self._holder_reads = asyncio.Semaphore(HOLDER_READS)
        self.clock = clock

    async def prepare(self) -> None:
        """Read the fleet and compile the policies before the first call. Ignores an unavailable database."""
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(PREPARE_S):
                await self._fleet_reads.result()

    def warm(self, credential: Credential) -> tuple[Token, reading.Fleet, PolicyContext] | None:
        """The results of ``token`` and ``fleet`` if they need no read, else ``None``."""
        entry = self._tokens.get(credential.id)
        token = None if entry is None else self._open(entry, credential)
        if token is None or self._fleet is None or self._changes != self._changes_read:
            return None
        return (token, *self._fleet)

    async def token(self, credential: Credential, *, fresh: bool = False) -> Token | None:
        """The token of a credential, which expires at the latest with its secret; ``None`` if the secret is wrong.

        Raises ``StoreUnavailable`` and ``TooManyLookups``.
        """
        entry = self._tokens.get(credential.id)
        if entry is None or fresh:
            # A refresh is for a known token, even if the entry was dropped, so no budget applies.
            entry = await self._load(credential.id, bounded=not fresh)
        elif not self._open(entry, credential):
            # The secret can be newer than the snapshot: read once, within the budget for unknown credentials.
            entry = await self._load(credential.id, bounded=True)
        return None if entry is None else self._open(entry, credential)

    def _open(self, entry: reading.TokenEntry, credential: Credential) -> Token | None:
        now = self.clock.now()
        known = self._verified.get(credential.id)
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
                if len(self._verified) >= CAPACITY:
                    self._verified.clear()
                self._verified[credential.id] = _VerifiedCredential(
                    credential, entry, token, secret.expires_at
                )
                return token
        return None

    async def fleet(
        self, *, fresh: bool = False, only: Collection[UUID] | None = None
    ) -> tuple[reading.Fleet, PolicyContext]:
        """The fleet, and the policy context of decisions. Raises ``StoreUnavailable``.

        ``only`` are the servers that must be ``fresh``; without it, all of them. Admission detects changes of others by
        their versions.
        """
        if not fresh and self._fleet is not None and self._changes == self._changes_read:
            return self._fleet
        if fresh and self._stale_servers is not None:
            self._stale_servers = None if only is None else self._stale_servers.union(only)
        async with with_read_timeout():
            result: tuple[reading.Fleet, PolicyContext] = await self._fleet_reads.result()
            return result

    @property
    def last_fleet(self) -> reading.Fleet | None:
        """The last fleet that was read, even if invalidated since; ``None`` before the first read."""
        return None if self._fleet is None else self._fleet[0]

    async def live_token(self, token_id: UUID) -> Token | None:
        """Read a token without a check of its secret; ``None`` if it does not exist. Raises ``StoreUnavailable``."""
        entry = await self._load(token_id, bounded=False)
        return None if entry is None else entry.token

    async def holders(
        self, ids: Sequence[UUID], choose: Choose | None = None
    ) -> tuple[reading.Holders, reading.Fleet, PolicyContext]:
        """Read the existing ones of these identities and the fleet together. Raises ``StoreUnavailable``.

        Unchanged servers are taken from the snapshot. ``choose`` selects the servers of a large fleet that are compared
        with the database.
        """
        known, _ = await self.fleet()

        async def read(connection: Any) -> tuple[reading.Holders, _RawFleet]:
            holders = await reading.read_holders(connection, ids)
            only = None if choose is None else await choose(holders, known)
            return holders, await self._read_shared(connection, known, only)

        async with with_read_timeout(), self._holder_reads:
            holders, raw = await self._read(read)
            return holders, *await self._build(raw)

    def known_target(self, server: Server, identity_id: UUID) -> UpstreamTarget | None:
        """The cached result of ``target``, unless it needs an access token or a command."""
        known = self._targets.get(server.id)
        if known is None or known.version != server.version:
            return None
        target = known.of(identity_id)
        return None if target is None or target.client is not None or target.launch is not None else target

    async def target(self, server: Server, identity_id: UUID) -> UpstreamTarget:
        """Where to send an identity's calls to this version of a server, with its own credential or else the server's.

        The contents can be newer than the version, which is safe because an older version is never admitted again.
        Raises ``StoreUnavailable``, ``UnsealingFault`` and ``TokenFault``.
        """
        target = await self._stored_target(server, identity_id)
        if target.client is None:
            return target
        # No database connection is held here, because the authorization server can be slow.
        return replace(target, headers=(await self._client_tokens.header(target.client),))

    def refused(self, client_id: UUID, headers: tuple[Header, ...]) -> None:
        """Discard the access token of these client credentials after an upstream rejected it."""
        for header in headers:
            self._client_tokens.refused(client_id, header)

    async def _stored_target(self, server: Server, identity_id: UUID) -> UpstreamTarget:
        known = self._targets.get(server.id)
        if known is not None and known.version == server.version:
            target = known.of(identity_id)
            if target is not None:
                return target
        try:
            targets, target_read = await with_timeout(
                READ_TIMEOUT_S, self._read_target(server, identity_id, known)
            )
        except DATABASE_FAULTS as error:
            raise StoreUnavailable from error
        targets.keep(identity_id, target_read)
        self._targets[server.id] = targets
        return target_read

    async def _read_target(
        self, server: Server, identity_id: UUID, known: _ServerTargets | None
    ) -> tuple[_ServerTargets, UpstreamTarget]:
        async with self._sessions() as session:
            row = await session.get(ServerRow, server.id)
            if row is None:
                raise StoreUnavailable
            if known is None or known.version != server.version:
                known = _ServerTargets(server.version, await credential_holders(session, server.id))
            opened = await open_credential(session, self._sealer, row, identity_id)
            versions, launch = tuple(row.protocol_versions), launch_of(row, opened)
            return known, UpstreamTarget(
                row.url or "", opened.headers, versions, opened.client, launch=launch
            )

    def forget(self, ids: set[UUID] | None) -> None:
        """Drop the objects that a notification named (``None``: everything), so that they are read again."""
        if ids is None:
            for cache in (self._tokens, self._verified, self._targets):
                cache.clear()
            self._changes += 1
            self._stale_servers = None
            return
        for id in ids:
            for cache in (self._tokens, self._verified, self._targets):
                cache.pop(id, None)
        if self._fleet is not None and (servers := ids & self._fleet[0].servers.keys()):
            self._changes += 1
            self._stale_servers = None if self._stale_servers is None else self._stale_servers | servers

    async def _load(self, token_id: UUID, *, bounded: bool) -> reading.TokenEntry | None:
        async with with_read_timeout():
            entry: reading.TokenEntry | None
            if not bounded:
                entry = await self._token_reads.result(token_id)
                return entry
            if self._cold_waiting >= COLD_QUEUE:
                raise TooManyLookups
            self._cold_waiting += 1
            try:
                async with self._cold:
                    entry = await self._token_reads.result(token_id)
                    return entry
            finally:
                self._cold_waiting -= 1

    async def _read_tokens(self, ids: Collection[UUID]) -> Mapping[UUID, reading.TokenEntry]:
        before = {id: self._tokens.get(id) for id in ids}
        entries = await self._read(lambda connection: reading.read_tokens(connection, ids))
        for id in ids:
            entry, known = entries.get(id), before[id]
            if entry is None:
                self._tokens.pop(id, None)
                continue
            if known is not None and _is_older(entry.token, known.token):
                self._report_rewind()
            self._tokens[id] = entry
            self._tokens.move_to_end(id)
            if len(self._tokens) > CAPACITY:
                self._tokens.popitem(last=False)
        return entries

    async def _read_fleet(self) -> tuple[reading.Fleet, PolicyContext]:
        known = self.last_fleet
        only, self._stale_servers = self._stale_servers, set()
        changes = self._changes
        try:
            raw = await self._read(
                lambda connection: self._read_shared(connection, known, only), in_pieces=True
            )
            self._fleet = await self._build(raw)
        except BaseException:
            self._stale_servers = (
                None if only is None or self._stale_servers is None else self._stale_servers | only
            )
            raise
        self._changes_read = changes
        return self._fleet

    async def _read_shared(
        self, connection: Any, known: reading.Fleet | None, only: Collection[UUID] | None = None
    ) -> _RawFleet:
        fleet = await reading.read_fleet(connection, known, only)
        if known is not None and (fleet.version, fleet.policy_version) < (
            known.version,
            known.policy_version,
        ):
            self._report_rewind()
        return fleet, await self.policies.read(connection, fleet.policy_version)

    def _report_rewind(self) -> None:
        try:
            self._rewinds.report_older_version()
        except DatabaseRewound as fault:
            raise StoreUnavailable(str(fault)) from None

    def _reset(self) -> None:
        """Forget everything that was read before a restore of the database."""
        self.forget(None)
        self._fleet = None
        self.policies.forget()

    async def _build(self, raw: _RawFleet) -> tuple[reading.Fleet, PolicyContext]:
        """Build the fleet and the policy context, which stays the same object while it is unchanged."""
        # In a thread and outside a transaction, since many tools or policies take a large part of a second.
        fleet = await asyncio.to_thread(raw[0].build)
        context = PolicyContext(fleet.version, fleet.policy_version, await self.policies.evaluator(raw[1]))
        if self._fleet is not None and self._fleet[1] == context:
            context = self._fleet[1]
        return fleet, context

    async def _read(self, read: Callable[[Any], Awaitable[Result]], *, in_pieces: bool = False) -> Result:
        started = boot_time()
        try:
            async with self._pool.acquire(timeout=READ_TIMEOUT_S) as connection:
                # A cancelled read waits for its rollback; on a silent network, only terminating the connection ends it.
                timed = ReadTimeout(connection, in_pieces=in_pieces)
                try:
                    async with reading.consistent(connection):
                        result = await read(timed)
                        if self._rewinds.reason is not None:
                            raise StoreUnavailable(self._rewinds.reason)
                        if not self.clock.known:
                            at = await connection.fetchval(_NOW)
                            self.clock.learn(at, started, boot_time())
                        return result
                finally:
                    timed.end()
        except DRIVER_FAULTS as error:
            raise StoreUnavailable from error


def _is_older(token: Token, known: Token) -> bool:
    """Whether a version is lower than the one read before."""
    whose, before = token.identity, known.identity
    return token.version < known.version or (whose.id == before.id and whose.version < before.version)


@asynccontextmanager
async def with_read_timeout() -> AsyncIterator[None]:
    """Limit the wait of one caller for all its reads together. Raises ``StoreUnavailable``."""
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise StoreUnavailable from error


CurrentSnapshot = Annotated[AccessSnapshot, from_state("access")]
