"""Explain access decisions: request and response models, and the decision on a possible or a recorded call."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypeAliasType

from app.access.explain import Ask, Explanation, RecordedCall, explain, find_recorded, meaning_of_explanation
from app.access.point_in_time import AccessReader
from app.access.policy.evaluator import PolicyResult
from app.access.snapshot import AccessSnapshot
from app.db.call_arguments import kept_arguments
from app.domain.errors import Invalid
from app.domain.link_checks import LinkCheck
from app.domain.objects import Part
from app.domain.policy import CallerProgram, Effect
from app.features.audit.schemas import AuditDecision
from app.features.grants.schemas import GrantCreate, IdentityPrincipal
from app.features.policies.schemas import PolicyMode
from app.http.authorization import Caller, Permission
from app.http.runtime import Runtime
from app.http.schemas import CleanText, IpAddress, ShortText, Strict, Time, example, rule
from app.http.selectors import ServersByIdsModel, ToolName, ToolsByNamesModel
from app.lib.ids import SERVER, EventId, GrantId, GroupId, IdentityId, PolicyId, ServerId, TokenId, format_id
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
        Field(description="Why a grant or a scope entry does not allow the call."),
    ],
)
PolicyOutcome = TypeAliasType(
    "PolicyOutcome",
    Annotated[
        Literal["principal", "action", "resource", "condition", "arguments_unknown", "satisfied", "failed"],
        Field(
            description="What a policy did: it is about another `principal`, `action` or `resource`; its `condition` is"
            " not met; it reads arguments and these are not known (`arguments_unknown`: it was skipped); it is"
            " `satisfied`; it `failed`."
        ),
    ],
)
ArgumentsUsed = TypeAliasType(
    "ArgumentsUsed",
    Annotated[
        Literal["given", "kept", "not_kept", "not_permitted", "none"],
        Field(
            description="Where the arguments came from: the request, the recorded call, or nowhere: not kept, "
            "not permitted without `arguments.read`, or none."
        ),
    ],
)
PolicyEffect = TypeAliasType(
    "PolicyEffect", Annotated[Literal["permit", "forbid"], Field(description="The effect of the policy.")]
)


class AskingClient(Strict):
    """The MCP client, by the name that it sends."""

    name: ShortText | None = Field(default=None, description="Its name.", examples=["claude-code"])
    version: ShortText | None = Field(default=None, description="Its version.", examples=["2.1.0"])


class ExplainRequest(Strict):
    """A call to explain: a possible one, or one that was decided, by `event_id`."""

    model_config = example(
        {"identity_id": _IDENTITY, "server": "billing", "tool": "refund", "arguments": {"amount": 250}},
        allOf=[
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
    )
    identity_id: IdentityId | None = Field(
        default=None, description="The caller, with the widest possible token."
    )
    token_id: TokenId | None = Field(default=None, description="The token of the call.")
    event_id: EventId | None = Field(
        default=None,
        description="The audit event of the decision. The call is decided again as of its time, with its "
        "arguments if they were kept.",
    )
    server: ShortText | None = Field(
        default=None, description="The slug or the id of the server.", examples=["git"]
    )
    tool: ToolName | None = Field(
        default=None, description="The name of the tool; absent: access to the server."
    )
    part: ServerPart | None = Field(default=None, description="The resources or prompts, instead of a tool.")
    arguments: AskedArguments | None = Field(
        default=None,
        description="The arguments of the call. Without them, policies that read arguments are skipped.",
    )
    at: Time | None = Field(default=None, description="The time to ask about; now by default.")
    ip: IpAddress | None = Field(
        default=None, description="The client address of the call.", examples=["203.0.113.7"]
    )
    client: AskingClient | None = Field(default=None, description="The client program of the call.")

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        if sum(one is not None for one in (self.identity_id, self.token_id, self.event_id)) != 1:
            raise ValueError("give exactly one of identity_id, token_id and event_id")
        if self.event_id is not None and self.model_fields_set != {"event_id"}:
            raise ValueError("event_id already names the whole call: leave out the rest")
        if self.event_id is None and self.server is None:
            raise ValueError("name the server")
        if self.tool is not None and self.part is not None:
            raise ValueError("give tool or part, not both")
        if self.arguments is not None and self.tool is None:
            raise ValueError("arguments go with a tool")
        return self

    def ask(self) -> Ask:
        """Build the question for the service."""
        client, part = self.client or AskingClient(), self.part and Part(self.part)
        program = CallerProgram(client.name, client.version)
        return Ask(
            self.identity_id, self.token_id, self.server, self.tool, part, self.arguments, self.ip, program
        )


class ConsideredGrant(Strict):
    """A grant of the identity or of one of its groups, and why it does not allow the call."""

    grant_id: GrantId
    group_id: GroupId | None = Field(description="The group that holds it; null: the identity itself.")
    gives: bool = Field(description="Whether it allows the call.")
    faults: list[GrantFault] = Field(description="Why it does not.", examples=[["tool_not_covered"]])


class ConsideredEntry(Strict):
    """An entry of the token's scope, and why it does not cover the call."""

    reaches: bool = Field(description="Whether it covers the call.")
    faults: list[GrantFault] = Field(description="Why it does not.", examples=[["server_not_covered"]])


class ConsideredPolicy(Strict):
    """A published policy and its outcome."""

    policy_id: PolicyId
    name: str | None = Field(description="Its name now.", examples=["Refunds over 100"])
    version: int = Field(description="The version that was evaluated.", examples=[3])
    mode: PolicyMode
    effect: PolicyEffect
    approver_group: str | None = Field(
        description="The group whose approval it requires.", examples=["finance leads"]
    )
    uses_per_day: int | None = Field(
        description="The uses per day that it allows each identity.", examples=[20]
    )
    outcome: PolicyOutcome
    message: str | None = Field(
        description="Why it failed.", examples=["record does not have the attribute `amount`"]
    )

    @classmethod
    def of(cls, result: PolicyResult, name: str | None) -> Self:
        """Build the view of an evaluated policy."""
        policy = result.policy
        return cls(
            policy_id=policy.published.id,
            name=name,
            version=policy.published.version,
            mode=policy.published.mode.value,
            effect="permit" if policy.permits else "forbid",
            approver_group=policy.group,
            uses_per_day=policy.quota,
            outcome=result.outcome.value,
            message=result.message,
        )


class ConsideredToken(Strict):
    """The token of the call, or one that it was attenuated from. Each of them must allow the call."""

    token_id: TokenId | None = Field(description="Null: the widest token possible for the identity.")
    identity_id: IdentityId
    stopped: str | None = Field(
        description="Why the token is not accepted at all.", examples=["token_expired"]
    )
    in_scope: bool = Field(description="Whether its scope covers the call.")
    entries: list[ConsideredEntry] | None = Field(
        description="The entries of its scope; null when the scope is everything that the grants allow."
    )
    grants: list[ConsideredGrant] = Field(
        description="All grants that have not ended, in the order of evaluation."
    )
    policies: list[ConsideredPolicy] = Field(description="All published policies.")

    @classmethod
    def of(cls, link: LinkCheck, policies: Sequence[PolicyResult], of: Explanation) -> Self:
        """Build the view of one token of the chain."""
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
                ConsideredPolicy.of(result, of.policy_names.get(result.policy.published.id))
                for result in policies
            ],
        )


class NeededApproval(Strict):
    """An approval that the call needs."""

    policy_id: PolicyId
    version: int = Field(description="The version of the policy.", examples=[3])
    group: str = Field(description="The group that must approve.", examples=["finance leads"])
    reason: str | None = Field(description="The reason in the policy.", examples=["Large refunds"])


class CountedUse(Strict):
    """A use of a policy's quota by the call. The remaining number is not shown here."""

    policy_id: PolicyId
    limit: int = Field(description="Uses from `since` to `until`.", examples=[20])
    since: datetime = Field(description="When the count began.")
    until: datetime = Field(description="When it resets.")


class RecordedDecision(Strict):
    """The decision that was recorded at the time."""

    event_id: EventId
    time: datetime = Field(description="When it was decided.")
    decision: AuditDecision
    reason_code: str | None = Field(description="Why.", examples=["no_grant"])
    grant_id: GrantId | None = Field(description="The grant that allowed it.")
    policy_ids: list[PolicyId] = Field(description="The policies that decided.")

    @classmethod
    def of(cls, event: AuditEvent) -> Self:
        """Build the view of an audit event."""
        return cls(
            event_id=event.id,
            time=event.time,
            decision=event.decision,  # type: ignore[arg-type]
            reason_code=event.reason_code,
            grant_id=event.grant_id,
            policy_ids=event.policy_ids or [],
        )


class AccessExplanation(Strict):
    """A decision, with the grant and policies that decided and everything that was considered."""

    decision: AuditDecision
    reason_code: str = Field(description="The reason code, as in audit events.", examples=["no_grant"])
    summary: str = Field(
        description="The reason in words, with everything that is missing, in the order of evaluation.",
        examples=["No live grant of the identity or its groups reaches it."],
    )
    remedy: str | None = Field(
        description="What to do about it; null when there is nothing to do.",
        examples=["Make a grant that gives it."],
    )
    at: datetime = Field(description="The time that the decision is for.")
    identity_id: IdentityId
    token_id: TokenId | None = Field(description="Null: the widest token possible for the identity.")
    server_id: ServerId | None = Field(description="The server; null when there is none of that name.")
    tool: str | None = Field(description="The tool, by its name on the server.", examples=["refund"])
    part: ServerPart | None = Field(description="The requested part of the server.")
    arguments: ArgumentsUsed
    grant_id: GrantId | None = Field(description="The grant that allows the call.")
    policy_ids: list[PolicyId] = Field(description="The policies that decided.")
    observed_policy_ids: list[PolicyId] = Field(
        description="Policies on trial that would change the decision."
    )
    reasons: list[str] = Field(
        description="The reasons in the policies, as the caller sees them.", examples=[["Not on Sundays."]]
    )
    approvals: list[NeededApproval] = Field(description="The approvals that the call needs.")
    uses: list[CountedUse] = Field(description="The uses that the call takes.")
    considered: list[ConsideredToken] = Field(
        description="The token of the call, then those that it was attenuated from."
    )
    missing_grants: list[GrantCreate] = Field(
        description="The narrow grants that are missing, ready to be created."
    )
    recorded: RecordedDecision | None = Field(description="The recorded decision of an event.")

    @classmethod
    def of(cls, explanation: Explanation, arguments: str, recorded: RecordedCall | None) -> Self:
        """Build the view of an explanation."""
        question, decision = explanation.question, explanation.decision
        meaning = meaning_of_explanation(explanation)
        return cls(
            decision=decision.effect.value,
            reason_code=decision.reason_code,
            summary=meaning.says,
            remedy=meaning.remedy if decision.effect is not Effect.ALLOW else None,
            at=explanation.at,
            identity_id=question.token.identity.id,
            token_id=explanation.token_id,
            server_id=None if question.server is None else question.server.id,
            tool=question.tool,
            part=None if question.part is None else question.part.value,
            arguments=arguments,  # type: ignore[arg-type]
            grant_id=decision.grant_id,
            policy_ids=list(decision.policy_ids),
            observed_policy_ids=list(decision.observed),
            reasons=list(decision.reasons),
            approvals=[NeededApproval.model_validate(ask, from_attributes=True) for ask in decision.asks],
            uses=[
                CountedUse(
                    policy_id=use.policy_id, limit=use.limit, since=_time(use.start), until=_time(use.end)
                )
                for use in decision.quotas
            ],
            considered=[
                ConsideredToken.of(link, policies, explanation)
                for link, policies in zip(explanation.links, explanation.policies, strict=True)
            ],
            missing_grants=_missing(explanation),
            recorded=None if recorded is None else RecordedDecision.of(recorded.event),
        )


def _missing(explanation: Explanation) -> list[GrantCreate]:
    server, tool, part = explanation.question.server, explanation.question.tool, explanation.question.part
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
        for identity_id in explanation.identities_without_grant
    ]


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


async def explain_decision(
    session: AsyncSession, caller: Caller, snapshot: AccessSnapshot, body: ExplainRequest, runtime: Runtime
) -> AccessExplanation:
    """Decide a possible or a recorded call as the gateway does, with everything that was considered. Raises ``Invalid``
    and ``NotFound``."""
    if body.event_id is not None:
        return await _explain_event(body.event_id, caller, session, runtime, snapshot)
    reader = AccessReader(session, snapshot, body.at, asked=body.server, typed=body.tool, pointer="/at")
    explanation = await explain(session, reader, body.ask())
    return AccessExplanation.of(explanation, "none" if body.arguments is None else "given", None)


async def _explain_event(
    event_id: UUID, caller: Caller, session: AsyncSession, runtime: Runtime, snapshot: AccessSnapshot
) -> AccessExplanation:
    call = await find_recorded(session, event_id)
    event = call.event
    arguments, used = await _arguments(call, caller, session, runtime)
    server = None if event.server_id is None else format_id(SERVER, event.server_id)
    ask = Ask(None, call.token_id, server, event.tool, call.part, arguments, call.address, call.program)
    reader = AccessReader(session, snapshot, event.time, asked=server, typed=event.tool, pointer="/event_id")
    explanation = await explain(session, reader, ask)
    if explanation.decision.reason_code == "server_unknown" and event.reason_code != "server_unknown":
        raise Invalid.field(
            "/event_id", "about_the_fleet", "This event is about all servers together: ask about one of them."
        )
    return AccessExplanation.of(explanation, used, call)


async def _arguments(
    call: RecordedCall, caller: Caller, session: AsyncSession, runtime: Runtime
) -> tuple[dict[str, Any] | None, str]:
    """The arguments of a call, if they were kept and the caller may know how they affect policies."""
    if not call.is_call:
        return None, "none"
    if call.event.arguments_digest is None:
        return {}, "none"
    if not caller.may(Permission.ARGUMENTS_READ):
        return None, "not_permitted"
    kept, arguments = await kept_arguments(session, runtime.sealer, call.event.id)
    return (arguments or {}, "kept") if kept else (None, "not_kept")
