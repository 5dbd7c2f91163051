"""Query and answer models of simulations."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Self
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool, StrictInt, model_validator

from app.domain.policy import Effect
from app.features.audit.schemas import AuditDecision
from app.features.policies.schemas import PolicyMode, PolicyText
from app.features.policies.simulate import ChangedCall, Judged, Tally
from app.http.schemas import Strict, Time, rule
from app.lib.ids import EventId, IdentityId, PolicyId, ServerId, TokenId

MAX_WINDOW = timedelta(days=31)
MAX_CHANGES = 50
MAX_SHOWN = 1_000
_POLICY = "pol_01jdpnwz00e008000000000000"
_TEXT = 'forbid (principal, action == Action::"call_tool", resource == Tool::"git/git_push");'


class SimulatedChange(Strict):
    """One change to what is published. With `policy_id` alone, its draft as it is."""

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
        default=None, description="The policy; absent: a new one, of the `text`."
    )
    text: PolicyText | None = Field(default=None, description="What would be published; absent: the draft.")
    mode: PolicyMode | None = Field(
        default=None, description="How it would be published; absent: as the draft says."
    )
    remove: StrictBool = Field(default=False, description="Nothing of it would be published.")

    @model_validator(mode="after")
    def _one_change(self) -> Self:
        if self.policy_id is None and self.text is None:
            raise ValueError("name a policy_id, or give the text of a new policy")
        if self.remove and (self.policy_id is None or self.text is not None or self.mode is not None):
            raise ValueError("what is removed is named by its policy_id alone")
        return self


class SimulateRequest(Strict):
    """What would be published, and which calls to replay."""

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
        default=None, ge=1, le=MAX_WINDOW.days, description="Replay the calls of so many days."
    )
    since: Time | None = Field(
        default=None, description="Replay the calls since this time, at most 31 days ago; in place of `days`."
    )
    limit: StrictInt = Field(
        default=100,
        ge=0,
        le=MAX_SHOWN,
        description="How many of the calls that change are listed, newest first.",
    )

    @model_validator(mode="after")
    def _one_span(self) -> Self:
        if (self.days is None) == (self.since is None):
            raise ValueError("give days or since, one of them")
        return self


class CallsAndPeople(Strict):
    """How many calls, and of how many people and agents."""

    calls: int = Field(description="Calls.", examples=[14])
    identities: int = Field(description="People and agents who made them.", examples=[3])

    @classmethod
    def of(cls, tally: Tally, effect: Effect) -> Self:
        """Of the calls that are newly answered with this."""
        calls, identities = tally.newly(effect)
        return cls(calls=calls, identities=identities)


class NotReplayable(Strict):
    """Calls that could not be decided again."""

    calls: int = Field(description="All of them.", examples=[2])
    arguments_not_kept: int = Field(
        description="Of these, those of which a policy reads arguments that were not kept, or that you may not read.",
        examples=[2],
    )
    gone: int = Field(description="Of these, those whose server or tool is there no longer.", examples=[0])


class SimulatedDecision(Strict):
    """What one of the two sets of policies says of a call."""

    decision: AuditDecision
    reason_code: str = Field(description="Why.", examples=["policy_denied"])
    policy_ids: list[PolicyId] = Field(description="The policies that decided, of those that there are.")
    changes: list[int] = Field(
        description="Those of the `changes` that decided, by their place, from 0.", examples=[[0]]
    )

    @classmethod
    def of(cls, judged: Judged, places: Mapping[UUID, int], made_up: frozenset[UUID]) -> Self:
        """As the answer says it, given the places of what was changed."""
        return cls(
            decision=judged.effect.value,
            reason_code=judged.reason_code,
            policy_ids=[id for id in judged.policy_ids if id not in made_up],
            changes=[places[id] for id in judged.policy_ids if id in places],
        )


class SimulatedCall(Strict):
    """A call that the two sets of policies answer differently."""

    event_id: EventId
    time: datetime = Field(description="When it was made.")
    identity_id: IdentityId
    token_id: TokenId
    server_id: ServerId
    tool: str = Field(description="The tool, under its name on the server.", examples=["git_push"])
    before: SimulatedDecision
    after: SimulatedDecision

    @classmethod
    def of(cls, changed: ChangedCall, places: Mapping[UUID, int], made_up: frozenset[UUID]) -> Self:
        """As the answer says it."""
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
    """What the changes would have done to the calls that were made."""

    summary: str = Field(
        description="The figures in words.",
        examples=[
            "Of 1200 calls: newly denied 14 by 3, newly allowed 0, newly asking 0; 2 could not be replayed."
        ],
    )
    complete: bool = Field(
        description="Whether all calls of the span were looked at; otherwise those from `first` to `last`: of the "
        "newest 20,000 as many, from the oldest on, as there was time for."
    )
    since: datetime = Field(description="The span that was asked for.")
    first: datetime | None = Field(description="When the oldest call was made that was looked at.")
    last: datetime | None = Field(description="When the newest call was made that was looked at.")
    replayed: int = Field(description="Calls that were decided again.", examples=[1200])
    not_replayable: NotReplayable
    newly_denied: CallsAndPeople
    newly_allowed: CallsAndPeople
    newly_requiring_approval: CallsAndPeople
    calls: list[SimulatedCall] = Field(description="The calls that are answered differently, newest first.")
    omitted: int = Field(description="How many more of these there are.", examples=[0])

    @classmethod
    def of(
        cls, tally: Tally, since: datetime, limit: int, places: Mapping[UUID, int], made_up: frozenset[UUID]
    ) -> Self:
        """As the answer says it. ``made_up`` are ids of policies that are none yet."""
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
