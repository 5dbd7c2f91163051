"""Simulate a policy change on recorded calls.

Each call is decided twice, with the published policies and with the changed ones. Identities, servers and tools are as
they are now; time, client, address and arguments are as recorded. Other conditions of a call (grants, scopes, states)
are assumed to hold. The oldest call comes first, so that daily quotas run out as they would have.
"""

import asyncio
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple, Self
from uuid import UUID

from pydantic import Field, StrictBool, StrictInt, model_validator
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.explain import address_of
from app.access.point_in_time import AccessReader
from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import Evaluator, compile_with, evaluator_of
from app.access.snapshot import AccessSnapshot
from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.db.call_arguments import open_arguments
from app.db.change import Change
from app.domain.access import AccessRequest, Decision, PolicyContext, decide
from app.domain.errors import Invalid, TooManyRequests
from app.domain.objects import Identity, Server, Token, unlimited_token, unrestricted_server, with_full_access
from app.domain.policy import Act as PolicyAct
from app.domain.policy import CallerProgram, Effect, PolicyEvaluator, PolicyInput
from app.features.audit.record import record
from app.features.audit.schemas import AuditDecision
from app.features.policies.queries import published_policies
from app.features.policies.schemas import POLICY_EXAMPLE, PolicyMode, PolicyText
from app.features.policies.service import check_text
from app.http.authorization import Permission
from app.http.runtime import Runtime
from app.http.schemas import Strict, Time, example, rule
from app.lib.event_loop import in_slices
from app.lib.ids import EventId, IdentityId, PolicyId, ServerId, TokenId, new_id
from app.models.access import Policy
from app.models.audit import AuditArguments

MAX_CALLS = 20_000
MAX_DURATION_S = 15.0
MAX_WINDOW = timedelta(days=31)
MAX_CHANGES = 50
MAX_SHOWN = 1_000
_CALLS_READ_AT_ONCE = 1_000
_CALLS_REPLAYED_AT_ONCE = 500
_IDENTITIES_READ_AT_ONCE = 100
_NEAR = timedelta(days=1)
_TEXT = 'forbid (principal, action == Action::"call_tool", resource == Tool::"git/git_push");'
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
        window = {"since": since, "until": until, "by_policy": _BY_POLICY, "most": _CALLS_READ_AT_ONCE}
        rows = (await session.execute(_CALLS, window | place)).all()
        calls += rows
        if len(rows) < _CALLS_READ_AT_ONCE:
            break
    return calls[:limit][::-1], len(calls) <= limit


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


class ChangedCall(NamedTuple):
    """A recorded call that the two sets of policies decide differently, with both decisions."""

    call: Any
    before: Decision
    after: Decision


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

    def newly(self, effect: Effect) -> "CallsAndPeople":
        """Count the calls with this new effect, and their identities."""
        callers = [one.call.actor_id for one in self.changed if one.after.effect is effect]
        return CallsAndPeople(calls=len(callers), identities=len(set(callers)))


_Key = tuple[UUID, UUID, str]
"""Token, server and tool."""


@dataclass(slots=True)
class _Judge:
    """One of the two sets, with the use of its quotas.

    Its decision on all calls of a tool with a token is cached, as long as it is valid.
    """

    policies: PolicyEvaluator
    used: Counter[tuple[str, float]] = field(default_factory=Counter)
    reads: dict[_Key, bool] = field(default_factory=dict)
    known: dict[_Key, Decision] = field(default_factory=dict)

    def reads_arguments(self, question: AccessRequest, at: float) -> bool:
        """Whether a policy reads the arguments of a call of this tool with this token."""
        key, server, policies = _key(question), question.server, self.policies
        if key not in self.reads:
            assert server is not None and question.tool is not None  # noqa: S101, PT018  # For each call.
            tool, program = server.tools[question.tool], question.program
            self.reads[key] = isinstance(policies, Evaluator) and any(
                policies.reads_arguments(
                    PolicyInput(PolicyAct.CALL_TOOL, link, server, tool, {}, at, question.address, program)
                )
                for link in question.token.chain()
            )
        return self.reads[key]

    def judge(self, question: AccessRequest, at: float) -> Decision:
        """Decide a call, and count one use of each quota, if none is exhausted."""
        decision = self._decision(question, at)
        if decision.effect is not Effect.ALLOW:
            return decision
        for demand in decision.quotas:
            if self.used[demand.key, demand.start] >= demand.limit:
                code, policy_ids = "quota_exceeded", (demand.policy_id,)
                return replace(decision, effect=Effect.DENY, reason_code=code, policy_ids=policy_ids)
        self.used.update((demand.key, demand.start) for demand in decision.quotas)
        return decision

    def _decision(self, question: AccessRequest, at: float) -> Decision:
        key = _key(question)
        cached = self.known.get(key)
        if cached is not None and cached.valid_from <= at < cached.valid_until:
            return cached
        decision = decide(question, PolicyContext(0, 0, self.policies), at)
        if decision.for_any_call:
            self.known[key] = decision
        return decision


@dataclass(slots=True)
class Simulation:
    """Replays calls against two sets of policies."""

    _session: AsyncSession
    _reader: AccessReader
    _sealer: Sealer | None
    _judges: tuple[_Judge, _Judge]
    _servers: dict[UUID, Server] = field(default_factory=dict)
    _identities: dict[UUID, Identity] = field(default_factory=dict)
    _tokens: dict[UUID, Token] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    async def run(self, since: datetime, until: datetime) -> Tally:
        """Replay the newest calls of a span of time, within the time limit."""
        started = monotonic()
        calls, self.tally.complete = await newest_calls(self._session, since, until, MAX_CALLS)
        if calls:
            self.tally.first = calls[0].time
        for first in range(0, len(calls), _CALLS_REPLAYED_AT_ONCE):
            if monotonic() - started > MAX_DURATION_S:
                # The results cover what was replayed; the newest calls are missing.
                self.tally.complete = False
                break
            some = calls[first : first + _CALLS_REPLAYED_AT_ONCE]
            self.tally.last = some[-1].time
            await self._meet(some)
            reading = await in_slices(self._reading(some))
            kept = {} if self._sealer is None else await arguments_of(self._session, self._sealer, reading)
            await in_slices(self._replay(some, {call.id for call in reading}, kept))
        return self.tally

    async def _meet(self, calls: Sequence[Any]) -> None:
        """Read the current identities, servers and tools of these calls."""
        new = {call.token_id for call in calls} - self._tokens.keys()
        rows = await self._session.execute(_CHAINS, {"ids": sorted(new)})
        # The parent and the identity of these tokens and of all that they were attenuated from.
        chains = {row.id: (row.parent_id, row.identity_id) for row in rows}
        strangers = sorted({identity for _, identity in chains.values()} - self._identities.keys())
        for first in range(0, len(strangers), _IDENTITIES_READ_AT_ONCE):
            state = await self._reader.of(strangers[first : first + _IDENTITIES_READ_AT_ONCE])
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


class SimulatedChange(Strict):
    """One change to the published policies. With only `policy_id`, its current draft."""

    model_config = example(
        {"policy_id": POLICY_EXAMPLE},
        allOf=[
            {"anyOf": [rule(given=["policy_id"]), rule(given=["text"])]},
            {
                "anyOf": [
                    {"properties": {"remove": {"const": False}}},
                    rule(given=["policy_id"], without=["text", "mode"]),
                ]
            },
        ],
    )
    policy_id: PolicyId | None = Field(
        default=None, description="The policy; absent: a new one with the `text`."
    )
    text: PolicyText | None = Field(default=None, description="The text to publish; absent: the draft.")
    mode: PolicyMode | None = Field(
        default=None, description="The mode to publish with; absent: that of the draft."
    )
    remove: StrictBool = Field(default=False, description="Unpublish it.")

    @model_validator(mode="after")
    def _one_change(self) -> Self:
        if self.policy_id is None and self.text is None:
            raise ValueError("name a policy_id, or give the text of a new policy")
        if self.remove and (self.policy_id is None or self.text is not None or self.mode is not None):
            raise ValueError("a removal has only a policy_id")
        return self


class SimulateRequest(Strict):
    """The policy changes, and the calls to replay."""

    model_config = example(
        {"changes": [{"text": _TEXT}], "days": 14},
        allOf=[{"oneOf": [rule(given=["days"], without=["since"]), rule(given=["since"], without=["days"])]}],
    )
    changes: list[SimulatedChange] = Field(
        min_length=1, max_length=MAX_CHANGES, description="The changes, all at once."
    )
    days: StrictInt | None = Field(
        default=None, ge=1, le=MAX_WINDOW.days, description="Replay the calls of this many days."
    )
    since: Time | None = Field(
        default=None, description="Replay the calls since this time, at most 31 days ago; instead of `days`."
    )
    limit: StrictInt = Field(
        default=100, ge=0, le=MAX_SHOWN, description="Number of changed calls to list, newest first."
    )

    @model_validator(mode="after")
    def _one_span(self) -> Self:
        if (self.days is None) == (self.since is None):
            raise ValueError("give days or since, one of them")
        return self


class CallsAndPeople(Strict):
    """A number of calls, and of the people and agents who made them."""

    calls: int = Field(description="Calls.", examples=[14])
    identities: int = Field(description="People and agents who made them.", examples=[3])


class NotReplayable(Strict):
    """Calls that could not be decided again."""

    calls: int = Field(description="All of them.", examples=[2])
    arguments_not_kept: int = Field(
        description="Of these, calls with arguments that a policy reads, but were not kept or you may not read.",
        examples=[2],
    )
    gone: int = Field(description="Of these, calls of a server or tool that no longer exists.", examples=[0])


class SimulatedDecision(Strict):
    """The decision of one of the two sets of policies."""

    decision: AuditDecision
    reason_code: str = Field(description="Why.", examples=["policy_denied"])
    policy_ids: list[PolicyId] = Field(description="The existing policies that decided.")
    changes: list[int] = Field(description="The `changes` that decided, by index from 0.", examples=[[0]])

    @classmethod
    def of(cls, decision: Decision, places: Mapping[UUID, int], made_up: frozenset[UUID]) -> Self:
        """Build the view, given the indexes of the changes."""
        return cls(
            decision=decision.effect.value,
            reason_code=decision.reason_code,
            policy_ids=[id for id in decision.policy_ids if id not in made_up],
            changes=[places[id] for id in decision.policy_ids if id in places],
        )


class SimulatedCall(Strict):
    """A call that the two sets of policies decide differently."""

    event_id: EventId
    time: datetime = Field(description="The time of the call.")
    identity_id: IdentityId
    token_id: TokenId
    server_id: ServerId
    tool: str = Field(description="The tool, by its name on the server.", examples=["git_push"])
    before: SimulatedDecision
    after: SimulatedDecision


class PolicySimulation(Strict):
    """The effect of the changes on recorded calls."""

    summary: str = Field(
        description="A summary of the numbers.",
        examples=[
            "Of 1200 calls: newly denied 14 by 3, newly allowed 0, newly asking 0; 2 could not be replayed."
        ],
    )
    complete: bool = Field(
        description="Whether all calls of the span were examined; otherwise only those from `first` to "
        "`last`: of the newest 20,000, from the oldest on, as many as the time limit allowed."
    )
    since: datetime = Field(description="The start of the requested span.")
    first: datetime | None = Field(description="The time of the oldest examined call.")
    last: datetime | None = Field(description="The time of the newest examined call.")
    replayed: int = Field(description="Calls that were decided again.", examples=[1200])
    not_replayable: NotReplayable
    newly_denied: CallsAndPeople
    newly_allowed: CallsAndPeople
    newly_requiring_approval: CallsAndPeople
    calls: list[SimulatedCall] = Field(description="The calls that are decided differently, newest first.")
    omitted: int = Field(description="Number of further such calls.", examples=[0])

    @classmethod
    def of(
        cls, tally: Tally, since: datetime, limit: int, places: Mapping[UUID, int], made_up: frozenset[UUID]
    ) -> Self:
        """Build the view. ``made_up`` are the ids of new policies."""
        missed = tally.arguments_not_kept + tally.gone
        denied, allowed, asking = map(tally.newly, (Effect.DENY, Effect.ALLOW, Effect.REQUIRE_APPROVAL))
        shown = [
            SimulatedCall(
                event_id=call.id,
                time=call.time,
                identity_id=call.actor_id,
                token_id=call.token_id,
                server_id=call.server_id,
                tool=call.tool,
                before=SimulatedDecision.of(before, {}, made_up),
                after=SimulatedDecision.of(after, places, made_up),
            )
            for call, before, after in tally.changed[::-1][:limit]
        ]
        return cls(
            summary=f"Of {tally.replayed} calls: newly denied {denied.calls} by {denied.identities}, newly allowed"
            f" {allowed.calls}, newly asking {asking.calls}; {missed} could not be replayed.",
            complete=tally.complete,
            since=since,
            first=tally.first,
            last=tally.last,
            replayed=tally.replayed,
            not_replayable=NotReplayable(
                calls=missed, arguments_not_kept=tally.arguments_not_kept, gone=tally.gone
            ),
            newly_denied=denied,
            newly_allowed=allowed,
            newly_requiring_approval=asking,
            calls=shown,
            omitted=len(tally.changed) - len(shown),
        )


# A replay uses much of a worker's time, which calls need too.
_ONE_AT_A_TIME = asyncio.Lock()


async def simulate(
    change: Change, runtime: Runtime, snapshot: AccessSnapshot, body: SimulateRequest
) -> PolicySimulation:
    """Replay recorded calls with changed policies. Raises ``Invalid``, and ``TooManyRequests`` while another simulation
    runs in this worker."""
    if _ONE_AT_A_TIME.locked():
        raise TooManyRequests(
            "A simulation is already running; repeat the request when it is done.", retry_after_s=5
        )
    session, caller = change.session, change.caller
    async with _ONE_AT_A_TIME:
        reader = AccessReader(session, snapshot)
        until = reader.time
        since = _since(body, until)
        changed = await _changed_policies(session, body.changes)
        published = await published_policies(session)
        rules = snapshot.policies.rules
        before = await asyncio.to_thread(evaluator_of, published, rules)
        after = await asyncio.to_thread(compile_with, published, changed, rules)
        sealer = runtime.sealer if caller.may(Permission.ARGUMENTS_READ) else None
        judges = _Judge(before), _Judge(after)
        tally = await Simulation(session, reader, sealer, judges).run(since, until)
    details = {"since": since.isoformat(), "replayed": tally.replayed, "changes": len(body.changes)}
    await record(
        session, caller, "policy.simulate", "policy", None, changes=details, request_id=change.request_id
    )
    places = {id: place for place, id in enumerate(changed)}
    made_up = frozenset(id for id, place in places.items() if body.changes[place].policy_id is None)
    return PolicySimulation.of(tally, since, body.limit, places, made_up)


def _since(body: SimulateRequest, until: datetime) -> datetime:
    if body.since is None:
        return until - timedelta(days=body.days or 0)
    if body.since >= until:
        raise Invalid.field("/since", "in_the_future", "The time must not be in the future.")
    if until - body.since > MAX_WINDOW:
        raise Invalid.field("/since", "too_early", f"At most {MAX_WINDOW.days} days can be replayed.")
    return body.since


async def _changed_policies(
    session: AsyncSession, requested: Sequence[SimulatedChange]
) -> dict[UUID, PublishedPolicy | None]:
    """The changed policies by id, in the order of the request. Raises ``Invalid`` for a policy that is missing or named
    twice, and for a text that cannot be published."""
    published: dict[UUID, PublishedPolicy | None] = {}
    for place, change in enumerate(requested):
        policy, id = None, change.policy_id or new_id()
        if change.policy_id is not None:
            policy = await session.get(Policy, id)
            if policy is None or policy.ended_at is not None:
                raise Invalid.field(f"/changes/{place}/policy_id", "not_found", "There is no such policy.")
            if id in published:
                raise Invalid.field(f"/changes/{place}/policy_id", "twice", "Change each policy once.")
        published[id] = None if change.remove else await _published(session, id, policy, change, place)
    return published


async def _published(
    session: AsyncSession, id: UUID, policy: Policy | None, change: SimulatedChange, place: int
) -> PublishedPolicy:
    text = change.text or (policy.text if policy is not None else "")
    mode = change.mode or (policy.mode if policy is not None else "enforce")
    try:
        await check_text(session, text)
    except Invalid as error:
        errors = [replace(each, pointer=f"/changes/{place}{each.pointer}") for each in error.errors]
        raise Invalid(error.detail, errors=errors) from None
    version = 1 if policy is None else (policy.version or 0) + 1
    return PublishedPolicy(id, version, text, Mode(mode))
