"""Request and response models of simulations."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool, StrictInt, model_validator

from app.domain.policy import Effect
from app.features.audit.schemas import AuditDecision
from app.features.policies.schemas import PolicyMode, PolicyText
from app.features.policies.simulate import CallDecision, ChangedCall, Tally
from app.http.schemas import Strict, Time, rule
from app.lib.ids import EventId, IdentityId, PolicyId, ServerId, TokenId

MAX_WINDOW = timedelta(days=31)
MAX_CHANGES = 50
MAX_SHOWN = 1_000
_POLICY = "pol_01jdpnwz00e008000000000000"
_TEXT = 'forbid (principal, action == Action::"call_tool", resource == Tool::"git/git_push");'


class SimulatedChange(Strict):
    """One change to the published policies. With only `policy_id`, its current draft."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"policy_id": _POLICY}],
            "allOf": [
                {"anyOf": [rule(given=["policy_id"]), rule(given=["text"])]},
                {
                    "anyOf": [
                        {"properties": {"remove": {"const": False}}},
                        rule(given=["policy_id"], without=["text", "mode"]),
                    ]
                },
            ],
        },
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

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"changes": [{"text": _TEXT}], "days": 14}],
            "allOf": [
                {"oneOf": [rule(given=["days"], without=["since"]), rule(given=["since"], without=["days"])]}
            ],
        },
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
        default=100,
        ge=0,
        le=MAX_SHOWN,
        description="Number of changed calls to list, newest first.",
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

    @classmethod
    def of(cls, tally: Tally, effect: Effect) -> Self:
        """Count the calls with this new effect."""
        calls, identities = tally.newly(effect)
        return cls(calls=calls, identities=identities)


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
    def of(cls, judged: CallDecision, places: Mapping[UUID, int], made_up: frozenset[UUID]) -> Self:
        """Build the view, given the indexes of the changes."""
        return cls(
            decision=judged.effect.value,
            reason_code=judged.reason_code,
            policy_ids=[id for id in judged.policy_ids if id not in made_up],
            changes=[places[id] for id in judged.policy_ids if id in places],
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

    @classmethod
    def of(cls, changed: ChangedCall, places: Mapping[UUID, int], made_up: frozenset[UUID]) -> Self:
        """Build the view of a changed call."""
        call = changed.call
        return cls(
            event_id=call.id,
            time=call.time,
            identity_id=call.actor_id,
            token_id=call.token_id,
            server_id=call.server_id,
            tool=call.tool,
            before=SimulatedDecision.of(changed.before, {}, made_up),
            after=SimulatedDecision.of(changed.after, places, made_up),
        )


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
        denied, allowed, asking = (
            CallsAndPeople.of(tally, effect)
            for effect in (Effect.DENY, Effect.ALLOW, Effect.REQUIRE_APPROVAL)
        )
        shown = tally.changed[::-1][:limit]
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
            calls=[SimulatedCall.of(changed, places, made_up) for changed in shown],
            omitted=len(tally.changed) - len(shown),
        )
