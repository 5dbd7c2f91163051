"""Simulate a policy change on recorded calls.

Each call is decided twice, with the published policies and with the changed ones. Identities, servers and tools are as
they are now; time, client, address and arguments are as recorded. Other conditions of a call (grants, scopes, states)
are assumed to hold. The oldest call comes first, so that daily quotas run out as they would have.
"""

from collections import Counter
from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.explain import address_of
from app.access.point_in_time import AccessReader
from app.access.policy.evaluator import Evaluator
from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.db.call_arguments import open_arguments
from app.domain.access import AccessRequest, Decision, PolicyContext, decide
from app.domain.objects import Identity, Server, Token
from app.domain.policy import Act as PolicyAct
from app.domain.policy import CallerProgram, Effect, PolicyEvaluator, PolicyInput, QuotaDemand
from app.domain.policy_replay import unlimited_token, unrestricted_server, with_full_access
from app.lib.event_loop import in_slices
from app.models.audit import AuditArguments

AT_ONCE = 1_000
_NEAR = timedelta(days=1)
# Calls that were denied before policies were evaluated are of no use here.
_BY_POLICY = ["policy_denied", "policy_error", "policy_not_permitted", "quota_exceeded"]
_CALLS = text("""
SELECT e.id, e.time, e.epoch, e.xact, e.seq, e.actor_id, e.token_id, e.server_id, e.tool,
       e.arguments_digest IS NULL AS bare, c.ip, c.name, c.version
FROM audit_events e LEFT JOIN audit_clients c ON c.id = e.client_id
WHERE e.time >= :since AND e.time < :until AND e.action = 'tool.call'
    AND e.token_id IS NOT NULL AND e.actor_id IS NOT NULL AND e.server_id IS NOT NULL AND e.tool IS NOT NULL
    AND (e.decision IN ('allow', 'require_approval') OR e.reason_code = ANY(CAST(:by_policy AS text[])))
    AND (CAST(:epoch AS int) IS NULL OR e.epoch < :epoch OR (e.epoch = :epoch AND (e.xact, e.seq) < (:xact, :seq)))
ORDER BY e.epoch DESC, e.xact DESC, e.seq DESC LIMIT :most
""")
_CHAINS = text("""
WITH RECURSIVE family AS (
    SELECT id, parent_id, identity_id FROM tokens WHERE id = ANY(CAST(:ids AS uuid[]))
    UNION SELECT t.id, t.parent_id, t.identity_id FROM tokens t JOIN family ON t.id = family.parent_id
)
SELECT id, parent_id, identity_id FROM family
""")


async def newest_calls(
    session: AsyncSession, since: datetime, until: datetime, limit: int
) -> tuple[list[Any], bool]:
    """The newest of these calls, oldest first, and whether they are all."""
    calls: list[Any] = []
    while len(calls) <= limit:
        last = calls[-1] if calls else None
        place = {name: getattr(last, name, None) for name in ("epoch", "xact", "seq")}
        window = {"since": since, "until": until, "by_policy": _BY_POLICY, "most": AT_ONCE}
        rows = (await session.execute(_CALLS, window | place)).all()
        calls += rows
        if len(rows) < AT_ONCE:
            break
    return calls[:limit][::-1], len(calls) <= limit


async def chains_of(session: AsyncSession, tokens: Collection[UUID]) -> dict[UUID, tuple[UUID | None, UUID]]:
    """(parent, identity) of these tokens and of all that they were attenuated from."""
    rows = await session.execute(_CHAINS, {"ids": sorted(tokens)})
    return {row.id: (row.parent_id, row.identity_id) for row in rows}


async def arguments_of(session: AsyncSession, sealer: Sealer, calls: Sequence[Any]) -> Mapping[UUID, Any]:
    """The arguments of those calls for which they are kept and a configured key decrypts them."""
    if not calls:
        return {}
    times = [call.time for call in calls]
    statement = select(AuditArguments).where(
        col(AuditArguments.call_id).in_([call.id for call in calls]),
        col(AuditArguments.time).between(min(times) - _NEAR, max(times) + _NEAR),
    )
    arguments = {}
    for row in await session.scalars(statement):
        try:
            arguments[row.call_id] = open_arguments(sealer, row.call_id, Sealed(row.key_id, row.sealed))
        except UnsealingFault:
            continue
    return arguments


MAX_CALLS = 20_000
MAX_DURATION_S = 15.0
_AT_ONCE = 500
_READ_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class CallDecision:
    """One decision on a call."""

    effect: Effect
    reason_code: str
    policy_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class ChangedCall:
    """A call that the two sets decide differently."""

    call: Any
    before: CallDecision
    after: CallDecision


@dataclass(slots=True)
class Tally:
    """The results of a simulation. ``first`` and ``last`` are the times of the oldest and newest examined call."""

    complete: bool = True
    first: datetime | None = None
    last: datetime | None = None
    replayed: int = 0
    arguments_not_kept: int = 0
    gone: int = 0
    changed: list[ChangedCall] = field(default_factory=list)

    def newly(self, effect: Effect) -> tuple[int, int]:
        """The number of calls with this new effect, and of their identities."""
        calls = [each.call.actor_id for each in self.changed if each.after.effect is effect]
        return len(calls), len(set(calls))


_Key = tuple[UUID, UUID, str]
"""Token, server and tool."""


class _Judge:
    """One of the two sets, with the use of its quotas.

    Its decision on all calls of a tool with a token is cached, as long as it is valid.
    """

    def __init__(self, policies: PolicyEvaluator) -> None:
        self._context = PolicyContext(0, 0, policies)
        self._policies = policies
        self._used: Counter[tuple[str, float]] = Counter()
        self._reads: dict[_Key, bool] = {}
        self._known: dict[_Key, Decision] = {}

    def reads_arguments(self, question: AccessRequest, at: float) -> bool:
        """Whether a policy reads the arguments of a call of this tool with this token."""
        key = _key(question)
        if key not in self._reads:
            policies = self._policies
            self._reads[key] = isinstance(policies, Evaluator) and any(
                map(policies.reads_arguments, _requests(question, at))
            )
        return self._reads[key]

    def judge(self, question: AccessRequest, at: float) -> CallDecision:
        decision = self._decision(question, at)
        spent = None if decision.effect is not Effect.ALLOW else self._spent(decision)
        if spent is not None:
            return CallDecision(Effect.DENY, "quota_exceeded", (spent.policy_id,))
        return CallDecision(decision.effect, decision.reason_code, decision.policy_ids)

    def _decision(self, question: AccessRequest, at: float) -> Decision:
        key = _key(question)
        cached = self._known.get(key)
        if cached is not None and cached.valid_from <= at < cached.valid_until:
            return cached
        decision = decide(question, self._context, at)
        if decision.for_any_call:
            self._known[key] = decision
        return decision

    def _spent(self, decision: Decision) -> QuotaDemand | None:
        """An exhausted quota, or None after counting one use of each."""
        for demand in decision.quotas:
            if self._used[(demand.key, demand.start)] >= demand.limit:
                return demand
        self._used.update((demand.key, demand.start) for demand in decision.quotas)
        return None


class Simulation:
    """Replays calls against two sets of policies."""

    def __init__(
        self,
        session: AsyncSession,
        reader: AccessReader,
        sealer: Sealer | None,
        before: PolicyEvaluator,
        after: PolicyEvaluator,
    ) -> None:
        self._session = session
        self._reader = reader
        self._sealer = sealer
        self._judges = (_Judge(before), _Judge(after))
        self._servers: dict[UUID, Server] = {}
        self._identities: dict[UUID, Identity] = {}
        self._tokens: dict[UUID, Token] = {}
        self.tally = Tally()

    async def run(self, since: datetime, until: datetime) -> Tally:
        """Replay the newest calls of a span of time, within the time limit."""
        started = monotonic()
        calls, self.tally.complete = await newest_calls(self._session, since, until, MAX_CALLS)
        if calls:
            self.tally.first = calls[0].time
        for first in range(0, len(calls), _AT_ONCE):
            if monotonic() - started > MAX_DURATION_S:
                # The results cover what was replayed; the newest calls are missing.
                self.tally.complete = False
                break
            some = calls[first : first + _AT_ONCE]
            self.tally.last = some[-1].time
            await self._meet(some)
            reading = await in_slices(self._reading(some))
            kept = {} if self._sealer is None else await arguments_of(self._session, self._sealer, reading)
            await in_slices(self._replay(some, {call.id for call in reading}, kept))
        return self.tally

    async def _meet(self, calls: Sequence[Any]) -> None:
        """Read the current identities, servers and tools of these calls."""
        new = {call.token_id for call in calls} - self._tokens.keys()
        chains = await chains_of(self._session, new)
        strangers = sorted({identity for _, identity in chains.values()} - self._identities.keys())
        for first in range(0, len(strangers), _READ_AT_ONCE):
            state = await self._reader.of(strangers[first : first + _READ_AT_ONCE])
            self._identities |= {id: with_full_access(identity) for id, identity in state.identities.items()}
            if not self._servers:
                # The same objects for all calls: policy results about them are cached by object.
                self._servers = {id: unrestricted_server(server) for id, server in state.servers.items()}
        for id in new & chains.keys():
            self._token(id, chains)

    def _token(self, id: UUID, chains: Mapping[UUID, tuple[UUID | None, UUID]]) -> Token:
        token = self._tokens.get(id)
        if token is None:
            parent, identity = chains[id]
            above = None if parent is None else self._token(parent, chains)
            token = self._tokens[id] = unlimited_token(id, self._identities[identity], above)
        return token

    def _reading(self, calls: Sequence[Any]) -> Generator[None, None, list[Any]]:
        """The calls with arguments that one of the sets reads."""
        reading = []
        for call in calls:
            yield
            question = self._question(call, {})
            if question is None or call.bare:
                continue
            at = call.time.timestamp()
            if any(judge.reads_arguments(question, at) for judge in self._judges):
                reading.append(call)
        return reading

    def _replay(
        self, calls: Sequence[Any], reading: set[UUID], kept: Mapping[UUID, Any]
    ) -> Generator[None, None, None]:
        tally = self.tally
        for call in calls:
            yield
            if call.id in reading and call.id not in kept:
                tally.arguments_not_kept += 1
                continue
            question = self._question(call, kept.get(call.id) or {})
            if question is None:
                tally.gone += 1
                continue
            at = call.time.timestamp()
            before, after = (judge.judge(question, at) for judge in self._judges)
            tally.replayed += 1
            if before.effect is not after.effect:
                tally.changed.append(ChangedCall(call, before, after))

    def _question(self, call: Any, arguments: Mapping[str, object]) -> AccessRequest | None:
        token, server = self._tokens.get(call.token_id), self._servers.get(call.server_id)
        if token is None or server is None or call.tool not in server.tools:
            return None
        program = CallerProgram(call.name, call.version)
        return AccessRequest(token, server, call.tool, arguments, address_of(call.ip), program=program)


def _key(question: AccessRequest) -> _Key:
    server = question.server
    if server is None or question.tool is None:
        raise AssertionError("a call is of a tool of a server")
    return question.token.id, server.id, question.tool


def _requests(question: AccessRequest, at: float) -> list[PolicyInput]:
    """The policy requests of a call, one for each token of the chain."""
    server = question.server
    if server is None or question.tool is None:
        return []
    tool = server.tools[question.tool]
    return [
        PolicyInput(PolicyAct.CALL_TOOL, link, server, tool, {}, at, question.address, question.program)
        for link in question.token.chain()
    ]
