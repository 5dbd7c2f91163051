"""Query and answer models of the access matrix.

Query and answer models of explanations.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from typing_extensions import TypeAliasType

from app.access.explain import Ask, Explanation, RecordedCall, meaning_of_explanation
from app.access.policy.evaluator import Considered
from app.access.reach import MOST_IDENTITIES, MOST_SERVERS, Row
from app.domain.considered import ConsideredLink
from app.domain.objects import Part
from app.domain.policy import CallerProgram, Effect
from app.domain.reach import Tally
from app.features.audit.schemas import AuditDecision
from app.features.grants.schemas import GrantCreate, IdentityPrincipal
from app.features.policies.schemas import PolicyMode
from app.http.schemas import CleanText, IpAddress, ShortText, Strict, Time, rule
from app.http.selectors import ServersByIdsModel, ToolName, ToolsByNamesModel
from app.lib.ids import EventId, GrantId, GroupId, IdentityId, PolicyId, ServerId, TokenId
from app.models.audit import AuditEvent

_IDENTITY, _TOKEN = "idn_01jdpnwz00e008000000000000", "tok_01jdpnwz00e008000000000000"
_SERVER, _GRANT = "srv_01jdpnwz00e008000000000000", "grant_01jdpnwz00e008000000000000"
_POLICY = "pol_01jdpnwz00e008000000000000"


AskedArguments = TypeAliasType(
    "AskedArguments",
    Annotated[
        dict[Annotated[str, CleanText], Any],
        Field(description="The arguments of the call.", examples=[{"amount": 250}]),
    ],
)
ServerPart = TypeAliasType(
    "ServerPart",
    Annotated[Literal["resources", "prompts"], Field(description="A part of a server other than tools.")],
)
GrantFault = TypeAliasType(
    "GrantFault",
    Annotated[
        Literal[
            "not_started",
            "expired",
            "server_not_covered",
            "tool_not_covered",
            "resources_not_covered",
            "prompts_not_covered",
        ],
        Field(description="What keeps a grant, or an entry of a scope, from giving what is asked for."),
    ],
)
PolicyOutcome = TypeAliasType(
    "PolicyOutcome",
    Annotated[
        Literal["principal", "action", "resource", "condition", "arguments_unknown", "satisfied", "failed"],
        Field(
            description="What a policy did: it is about another `principal`, `action` or `resource`; its `condition` is"
            " not met; it reads arguments and these are not known (`arguments_unknown`: it stood aside); it is"
            " `satisfied`; it `failed`."
        ),
    ],
)
ArgumentsUsed = TypeAliasType(
    "ArgumentsUsed",
    Annotated[
        Literal["given", "kept", "not_kept", "not_permitted", "none"],
        Field(
            description="What it was decided with: the arguments of the request, those that were kept of the call;"
            " without, since they were not kept, since you lack `arguments.read`, or since there are none to tell of."
        ),
    ],
)
PolicyEffect = TypeAliasType(
    "PolicyEffect", Annotated[Literal["permit", "forbid"], Field(description="What the policy says.")]
)


class AskingClient(Strict):
    """The MCP client program, as it calls itself."""

    name: ShortText | None = Field(default=None, description="Its name.", examples=["claude-code"])
    version: ShortText | None = Field(default=None, description="Its version.", examples=["2.1.0"])


class ExplainRequest(Strict):
    """A call to explain: one that might be made, or, by `event_id` alone, one that was decided."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "identity_id": _IDENTITY,
                    "server": "billing",
                    "tool": "refund",
                    "arguments": {"amount": 250},
                }
            ],
            "allOf": [
                {
                    "oneOf": [
                        rule(given=["identity_id", "server"], without=["token_id", "event_id"]),
                        rule(given=["token_id", "server"], without=["identity_id", "event_id"]),
                        rule(given=["event_id"]) | {"maxProperties": 1},
                    ]
                },
                {"anyOf": [rule(without=["tool"]), rule(without=["part"])]},
                {"anyOf": [rule(without=["arguments"]), rule(given=["tool"])]},
            ],
        },
    )
    identity_id: IdentityId | None = Field(
        default=None, description="Who asks, with the widest token possible."
    )
    token_id: TokenId | None = Field(default=None, description="The token that asks.")
    event_id: EventId | None = Field(
        default=None,
        description="The audit event of the decision, as its answer names it. It is decided again as of its time, with"
        " its arguments where they were kept.",
    )
    server: ShortText | None = Field(
        default=None, description="The slug or the id of the server.", examples=["git"]
    )
    tool: ToolName | None = Field(
        default=None, description="The name of the tool; absent: reaching the server."
    )
    part: ServerPart | None = Field(default=None, description="Its resources or prompts, in place of a tool.")
    arguments: AskedArguments | None = Field(
        default=None, description="The arguments of the call. Without, policies that read them stand aside."
    )
    at: Time | None = Field(default=None, description="The moment to ask about; now when absent.")
    ip: IpAddress | None = Field(
        default=None, description="The address that the call comes from.", examples=["203.0.113.7"]
    )
    client: AskingClient | None = Field(default=None, description="The program that it comes from.")

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if sum(one is not None for one in (self.identity_id, self.token_id, self.event_id)) != 1:
            raise ValueError("give exactly one of identity_id, token_id and event_id")
        if self.event_id is not None and self.model_fields_set != {"event_id"}:
            raise ValueError("event_id says all that is asked: leave out the rest")
        if self.event_id is None and self.server is None:
            raise ValueError("name the server")
        if self.tool is not None and self.part is not None:
            raise ValueError("give tool or part, not both")
        if self.arguments is not None and self.tool is None:
            raise ValueError("arguments go with a tool")
        return self

    def ask(self) -> Ask:
        """What is asked, for the service."""
        program = (
            CallerProgram() if self.client is None else CallerProgram(self.client.name, self.client.version)
        )
        part = None if self.part is None else Part(self.part)
        return Ask(
            self.identity_id, self.token_id, self.server, self.tool, part, self.arguments, self.ip, program
        )


class ConsideredGrant(Strict):
    """A grant of the identity or of one of its groups, and what keeps it from giving the right."""

    grant_id: GrantId
    group_id: GroupId | None = Field(description="The group that it was made to; null: the identity itself.")
    gives: bool = Field(description="Whether it gives the right that was asked for.")
    faults: list[GrantFault] = Field(description="What keeps it from it.", examples=[["tool_not_covered"]])


class ConsideredEntry(Strict):
    """An entry of the token's scope, and what keeps it from reaching."""

    reaches: bool = Field(description="Whether what was asked for is in it.")
    faults: list[GrantFault] = Field(description="What keeps it from it.", examples=[["server_not_covered"]])


class ConsideredPolicy(Strict):
    """A published policy and what it did."""

    policy_id: PolicyId
    name: str | None = Field(description="Its name now.", examples=["Refunds over 100"])
    version: int = Field(description="The version that was asked.", examples=[3])
    mode: PolicyMode
    effect: PolicyEffect
    approver_group: str | None = Field(
        description="The group whose approval it asks for.", examples=["finance leads"]
    )
    uses_per_day: int | None = Field(description="How many uses it lets each identity have.", examples=[20])
    outcome: PolicyOutcome
    message: str | None = Field(
        description="Why it failed.", examples=["record does not have the attribute `amount`"]
    )

    @classmethod
    def of(cls, found: Considered, name: str | None) -> Self:
        """As the answer says it."""
        policy = found.policy
        return cls(
            policy_id=policy.published.id,
            name=name,
            version=policy.published.version,
            mode=policy.published.mode.value,
            effect="permit" if policy.permits else "forbid",
            approver_group=policy.group,
            uses_per_day=policy.quota,
            outcome=found.outcome.value,
            message=found.message,
        )


class ConsideredToken(Strict):
    """The token that asks, or one that it was attenuated from: the rights of each have to allow the call."""

    token_id: TokenId | None = Field(description="Null: the widest token that the identity could have.")
    identity_id: IdentityId
    stopped: str | None = Field(description="Why it opens nothing at all.", examples=["token_expired"])
    in_scope: bool = Field(description="Whether its scope reaches what was asked for.")
    entries: list[ConsideredEntry] | None = Field(
        description="The entries of its scope; null where the scope is all of the grants."
    )
    grants: list[ConsideredGrant] = Field(
        description="All grants that have not ended, in the order of asking."
    )
    policies: list[ConsideredPolicy] = Field(description="All published policies.")

    @classmethod
    def of(cls, link: ConsideredLink, policies: Sequence[Considered], of: Explanation) -> Self:
        """As the answer says it."""
        entries = link.entries
        return cls(
            token_id=None if of.token_id is None else link.token.id,
            identity_id=link.token.identity.id,
            stopped=link.stopped,
            in_scope=link.in_scope,
            entries=None
            if entries is None
            else [ConsideredEntry(reaches=not faults, faults=list(faults)) for faults in entries],  # type: ignore[arg-type]
            grants=[
                ConsideredGrant(
                    grant_id=grant.id,
                    group_id=of.group_of.get(grant.id),
                    gives=not faults,
                    faults=list(faults),  # type: ignore[arg-type]
                )
                for grant, faults in link.grants
            ],
            policies=[
                ConsideredPolicy.of(found, of.policy_names.get(found.policy.published.id))
                for found in policies
            ],
        )


class NeededApproval(Strict):
    """An approval that the call needs."""

    policy_id: PolicyId
    version: int = Field(description="The version of the policy that asks.", examples=[3])
    group: str = Field(description="The group that must approve.", examples=["finance leads"])
    reason: str | None = Field(description="What the policy says of why.", examples=["Large refunds"])


class CountedUse(Strict):
    """A use of a policy's quota by the call. The remaining number is not shown here."""

    policy_id: PolicyId
    limit: int = Field(description="Uses from `since` to `until`.", examples=[20])
    since: datetime = Field(description="When the count began.")
    until: datetime = Field(description="When it resets.")


class RecordedDecision(Strict):
    """What was decided and recorded then."""

    event_id: EventId
    time: datetime = Field(description="When it was decided.")
    decision: AuditDecision
    reason_code: str | None = Field(description="Why.", examples=["no_grant"])
    grant_id: GrantId | None = Field(description="The grant that allowed it.")
    policy_ids: list[PolicyId] = Field(description="The policies that decided.")

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """As the answer says it."""
        return cls(
            event_id=event.id,
            time=event.time,
            decision=event.decision,  # type: ignore[arg-type]
            reason_code=event.reason_code,
            grant_id=event.grant_id,
            policy_ids=event.policy_ids or [],
        )


class AccessExplanation(Strict):
    """What is decided, by which grant and policies, and all that was considered."""

    decision: AuditDecision
    reason_code: str = Field(description="Why, as audit events say it.", examples=["no_grant"])
    summary: str = Field(
        description="Why, in words, with all that is missing, in the order of asking.",
        examples=["No live grant of the identity or its groups reaches it."],
    )
    remedy: str | None = Field(
        description="What to do about it; null where nothing has to be done.",
        examples=["Make a grant that gives it."],
    )
    at: datetime = Field(description="The moment that it is true of.")
    identity_id: IdentityId
    token_id: TokenId | None = Field(description="Null: the widest token that the identity could have.")
    server_id: ServerId | None = Field(description="The server; null where there is none of that name.")
    tool: str | None = Field(description="The tool, under its name on the server.", examples=["refund"])
    part: ServerPart | None = Field(description="The part of the server that was asked for.")
    arguments: ArgumentsUsed
    grant_id: GrantId | None = Field(description="The grant that it rests on.")
    policy_ids: list[PolicyId] = Field(description="The policies that decided.")
    observed_policy_ids: list[PolicyId] = Field(
        description="Policies on trial that would have decided otherwise."
    )
    reasons: list[str] = Field(
        description="The reasons that the policies give to the caller.", examples=[["Not on Sundays."]]
    )
    approvals: list[NeededApproval] = Field(description="The approvals that the call needs.")
    uses: list[CountedUse] = Field(description="The uses that the call takes.")
    considered: list[ConsideredToken] = Field(
        description="The token that asks, then those it was attenuated from."
    )
    missing_grants: list[GrantCreate] = Field(
        description="Grants without which it is denied, narrow ones, ready to be made as they are."
    )
    recorded: RecordedDecision | None = Field(description="Of an event, what was recorded.")

    @classmethod
    def of(cls, found: Explanation, arguments: str, recorded: RecordedCall | None) -> Self:
        """As the answer says it."""
        question, decision = found.question, found.decision
        meaning = meaning_of_explanation(found)
        return cls(
            decision=decision.effect.value,
            reason_code=decision.reason_code,
            summary=meaning.says,
            remedy=meaning.remedy if decision.effect is not Effect.ALLOW else None,
            at=found.at,
            identity_id=question.token.identity.id,
            token_id=found.token_id,
            server_id=None if question.server is None else question.server.id,
            tool=question.tool,
            part=None if question.part is None else question.part.value,
            arguments=arguments,  # type: ignore[arg-type]
            grant_id=decision.grant_id,
            policy_ids=list(decision.policy_ids),
            observed_policy_ids=list(decision.observed),
            reasons=list(decision.reasons),
            approvals=[
                NeededApproval(
                    policy_id=ask.policy_id, version=ask.version, group=ask.group, reason=ask.reason
                )
                for ask in decision.asks
            ],
            uses=[
                CountedUse(
                    policy_id=use.policy_id, limit=use.limit, since=_time(use.start), until=_time(use.end)
                )
                for use in decision.quotas
            ],
            considered=[
                ConsideredToken.of(link, policies, found)
                for link, policies in zip(found.links, found.policies, strict=True)
            ],
            missing_grants=_missing(found),
            recorded=None if recorded is None else RecordedDecision.of(recorded.event),
        )


def _missing(found: Explanation) -> list[GrantCreate]:
    server, tool, part = found.question.server, found.question.tool, found.question.part
    if server is None:
        return []
    return [
        GrantCreate(
            principal=IdentityPrincipal(type="identity", id=identity_id),
            servers=ServersByIdsModel(kind="ids", ids=[server.id]),
            tools=ToolsByNamesModel(kind="names", names=[] if tool is None else [tool]),
            resources=part is Part.RESOURCES,
            prompts=part is Part.PROMPTS,
        )
        for identity_id in found.lacking
    ]


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


_CELL: JsonDict = {
    "server_id": "srv_01jdpnwz00e008000000000000",
    "reached": True,
    "tools": 7,
    "approval_required": 1,
    "destructive": 1,
    "is_whole": True,
}
_ROW: JsonDict = {"identity_id": "idn_01jdpnwz00e008000000000000", "stopped": None, "cells": [_CELL]}


class AccessMatrixQuery(Strict):
    """Whose access to what: the rows and the columns, each by its ids."""

    identity_id: list[IdentityId] = Field(
        min_length=1, max_length=MOST_IDENTITIES, description=f"The rows, at most {MOST_IDENTITIES}."
    )
    server_id: list[ServerId] = Field(
        min_length=1, max_length=MOST_SERVERS, description=f"The columns, at most {MOST_SERVERS}."
    )


class AccessMatrixCell(Strict):
    """How much of a server an identity reaches now. A token reaches as much at most."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_CELL]})

    server_id: ServerId
    reached: bool = Field(
        description="Whether the server is within reach, be it with no tool that is active."
    )
    tools: int = Field(
        description="How many of its tools can be called, those included that need an approval."
    )
    approval_required: int = Field(description="Of those, how many need an approval for each call.")
    destructive: int = Field(description="Of those, how many are destructive.")
    is_whole: bool = Field(
        description="Whether all of its tools were looked at. A large matrix looks at the first of many, by name."
    )

    @classmethod
    def of(cls, server_id: UUID, found: Tally) -> Self:
        """As the answer says it."""
        return cls(
            server_id=server_id,
            reached=found.reached,
            tools=found.tools,
            approval_required=found.approval_required,
            destructive=found.destructive,
            is_whole=found.is_whole,
        )


class AccessMatrixRow(Strict):
    """What one identity reaches of each server."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_ROW]})

    identity_id: IdentityId
    stopped: str | None = Field(
        description="Why none of its grants is effective: `identity_suspended`, `identity_offboarded`, or, for an "
        "agent, `owner_suspended`, `owner_offboarded`. Null when they are.",
        examples=["identity_suspended"],
    )
    cells: list[AccessMatrixCell] = Field(description="In the order of the servers that were asked for.")

    @classmethod
    def of(cls, row: Row) -> Self:
        """As the answer says it."""
        cells = [AccessMatrixCell.of(id, found) for id, found in row.tallies]
        return cls(identity_id=row.identity_id, stopped=row.stopped, cells=cells)


class AccessMatrix(Strict):
    """Who reaches how much of what. Identities and servers that there are not are left out."""

    model_config = ConfigDict(extra="forbid")

    at: datetime = Field(description="The moment that it is true of, by the database's clock.")
    items: list[AccessMatrixRow] = Field(description="In the order of the identities that were asked for.")
