"""Request and answer models of approvals.

Models of access that somebody asks for: the request, what it is about, and the servers that can be asked for.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.domain.risk import Risk
from app.features.audit.schemas import Actor, KeptArguments
from app.features.identities.schemas import IdentityKind
from app.http.pagination import ListQuery
from app.http.schemas import CleanText, ShortText, Strict, Time
from app.http.selectors import AllToolsModel, ToolsByNamesModel, ToolsByRiskModel, ToolSelectorModel
from app.lib.ids import ApprovalId, EventId, GrantId, GroupId, IdentityId, PolicyId, ServerId, TokenId, ToolId

MOST_SERVERS = 50
"""In one answer, since each comes with its tools."""


def _something(selector: ToolSelectorModel) -> ToolSelectorModel:
    match selector:
        case ToolsByNamesModel(names=[]) | ToolsByRiskModel(risk=[]):
            raise ValueError("it selects no tool")
        case AllToolsModel() | ToolsByNamesModel() | ToolsByRiskModel():
            return selector


SomeTools = Annotated[ToolSelectorModel, AfterValidator(_something)]
Because = TypeAliasType(
    "Because",
    Annotated[
        str,
        StringConstraints(min_length=1, max_length=500),
        CleanText,
        Field(description="Why, for those who decide.", examples=["I close the quarter."]),
    ],
)


class AccessRequest(Strict):
    """A request for access to a server that can be asked for, for yourself or for an agent that you answer for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "access",
                    "server": "git",
                    "tools": {"kind": "names", "names": ["git_log"]},
                    "expires_at": "2027-01-01T00:00:00Z",
                    "reason": "I review the release.",
                }
            ]
        },
    )
    kind: Literal["access"]
    server: ShortText = Field(description="The slug or the id of the server.", examples=["git"])
    tools: SomeTools = Field(description="Which of its tools; those that are named have to be there.")
    expires_at: Time = Field(description="Until when it is needed: at most a year from now.")
    reason: Because
    identity_id: IdentityId | None = Field(
        default=None, description="The agent of yours that needs it; absent: you do."
    )


class AccessGiven(Strict):
    """What was agreed to: what was asked for, or less."""

    tools: ToolSelectorModel
    expires_at: datetime = Field(description="Until when.")
    grant_id: GrantId


class ApprovalAccess(Strict):
    """The access that is asked for."""

    tools: ToolSelectorModel
    expires_at: datetime = Field(description="Until when it is asked for.")
    granted: AccessGiven | None = Field(description="What was agreed to; null unless it was approved.")


class AccessNarrowing(Strict):
    """Less than what is asked for. What is absent stays as it was asked."""

    tools: SomeTools | None = Field(default=None, description="Which of the tools that are asked for.")
    expires_at: Time | None = Field(default=None, description="An earlier end.")


class RequestableTool(Strict):
    """A tool that can be asked for."""

    name: str = Field(description="Its name on the server.", examples=["git_log"])
    title: str | None = Field(description="What the server calls it for people.", examples=["Show the log"])
    risk: Risk = Field(description="How dangerous it is.")


class RequestableServer(Strict):
    """A server that can be asked for."""

    id: ServerId
    slug: str = Field(description="Its slug.", examples=["git"])
    name: str = Field(description="What people call it.", examples=["Git"])
    description: str | None = Field(description="What it is for.", examples=["Our repositories."])
    tools: list[RequestableTool] = Field(description="Its active tools, by name.")


class RequestableQuery(ListQuery):
    """Filters of the servers that can be asked for."""

    limit: int = Field(default=20, ge=1, le=MOST_SERVERS, description="Items a page.")
    q: ShortText | None = Field(
        default=None, description="Text in slug, name or description, or in name or title of a tool."
    )


ApprovalKind = TypeAliasType(
    "ApprovalKind",
    Annotated[
        Literal["call", "access"],
        Field(
            description="`call`: of one call of a tool, with the very arguments that asked. `access`: of access to a "
            "server that a person requested."
        ),
    ],
)
ApprovalStatus = TypeAliasType(
    "ApprovalStatus",
    Annotated[
        Literal["pending", "approved", "denied", "expired", "cancelled", "consumed"],
        Field(
            description="`pending` waits for a decision; `approved` waits for the call to be repeated, or, of access, "
            "has become a grant; `consumed` has let its one call through; `expired` was not decided, or not used, in "
            "time; `cancelled` ended with its token, its identity or its group, or was withdrawn."
        ),
    ],
)
ApprovalDefect = TypeAliasType(
    "ApprovalDefect",
    Annotated[
        Literal[
            "token_ended",
            "identity_offboarded",
            "definition_changed",
            "risk_changed",
            "policies_changed",
            "not_requestable",
        ],
        Field(
            description="Why it is of no use any more: its token is revoked or expired, its identity is "
            "offboarded, the tool is gone or its definition or risk another one, a policy that asked was changed, "
            "or the server cannot be asked for any more."
        ),
    ],
)


class ApprovalIdentity(Strict):
    """Who asked: the identity whose token was used, or that shall have the access."""

    id: IdentityId
    kind: IdentityKind
    name: str | None = Field(
        description="The name that it has now; none once it is erased.", examples=["Ada"]
    )


class ApprovalOwner(Strict):
    """The person who answers for the agent that asked."""

    id: IdentityId
    name: str | None = Field(description="The name that they have now; none once erased.", examples=["Ada"])


class ApprovalToken(Strict):
    """The token that was used."""

    id: TokenId
    name: str | None = Field(description="What the token is called.", examples=["laptop"])


class ApprovalServer(Strict):
    """The server that would be called, or that access is asked to."""

    id: ServerId
    slug: str | None = Field(description="Its slug.", examples=["payments"])
    name: str | None = Field(description="What people call it.", examples=["Payments"])


class ApprovalTool(Strict):
    """The tool that would be called."""

    id: ToolId | None = Field(description="Its id, as long as the server has it.")
    name: str = Field(description="Its name on the server.", examples=["refund"])
    title: str | None = Field(description="What the server calls it for people.", examples=["Refund"])
    risk: Risk | None = Field(description="How dangerous it is, as is known now.")


class ApprovalPolicy(Strict):
    """A policy that asks for this approval."""

    id: PolicyId
    version: int = Field(description="The version that asked.", examples=[3])
    name: str | None = Field(description="What the policy is called now.", examples=["large refunds"])
    reason: str | None = Field(
        description="What its annotation `@reason` says.",
        examples=["Refunds above 100 need a second person."],
    )


class ApprovalGroup(Strict):
    """The group whose members may decide."""

    id: GroupId | None = Field(description="None when there was no group of this name.")
    name: str = Field(
        description="Its name: as the policy writes it, or as it is now.", examples=["Finance leads"]
    )


class ApprovalView(Strict):
    """An approval, its subject and its state. What it is bound to never changes."""

    model_config = ConfigDict(extra="forbid", title="Approval")

    id: ApprovalId
    kind: ApprovalKind
    state: ApprovalStatus
    identity: ApprovalIdentity
    owner: ApprovalOwner | None = Field(description="None when a person asked.")
    token: ApprovalToken | None = Field(description="The token that was used; none for access.")
    server: ApprovalServer | None = Field(description="The server that would be called, or is asked for.")
    tool: ApprovalTool | None = Field(description="The tool that would be called; none for access.")
    access: ApprovalAccess | None = Field(description="The access that is asked for; none for a call.")
    policies: list[ApprovalPolicy] = Field(description="The policies that ask.")
    approver_group: ApprovalGroup | None = Field(
        description="The group whose members may decide: for access, the one that owns the server now."
    )
    reason: str | None = Field(
        description="Why the caller wants it, in the caller's own words: nothing has checked them.",
        examples=["The customer was charged twice."],
    )
    arguments_digest: str | None = Field(
        description="HMAC-SHA256 of the canonical arguments, in hex, as in the audit trail.",
        examples=["9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081"],
    )
    arguments_kept: bool = Field(
        description="Whether the arguments are on record and can be read: see `keep_arguments` of the server."
    )
    event_id: EventId | None = Field(
        description="The audit event of the call that asked first, or of the request."
    )
    request_count: int = Field(description="How many calls have asked for it.", examples=[1])
    may_decide: bool = Field(description="Whether you may decide it, now.")
    void: ApprovalDefect | None = Field(description="Why it is of no use any more; none while it is.")
    expires_at: datetime | None = Field(
        description="Until when it can be decided; once approved, until when the call can be made. None for access "
        "that was approved: its grant says until when."
    )
    decided_by: Actor | None = Field(description="Who approved or denied it.")
    decided_at: datetime | None = Field(description="When that was.")
    decision_reason: str | None = Field(
        description="The reason of the decision, which the caller gets.",
        examples=["Agreed with the customer."],
    )
    consumed_by: EventId | None = Field(description="The call that it let through.")
    consumed_at: datetime | None = Field(description="When that was.")
    url: str = Field(
        description="The page where people decide it.",
        examples=["https://scopegate.example.com/console/approvals/apr_01jdpnwz00e008000000000000"],
    )
    created_at: datetime
    updated_at: datetime
    revision: int


class ApprovalQuery(ListQuery):
    """Filters of the list of approvals; each may be repeated, and then any of its values matches."""

    state: list[ApprovalStatus] = Field(default_factory=list)
    kind: list[ApprovalKind] = Field(default_factory=list)
    identity_id: list[IdentityId] = Field(default_factory=list, description="Who asked.")
    token_id: list[TokenId] = Field(default_factory=list)
    server_id: list[ServerId] = Field(default_factory=list)
    tool: list[ShortText] = Field(default_factory=list, description="The tool, by its name on the server.")
    approver_group: list[GroupId] = Field(
        default_factory=list, description="The group whose members may decide."
    )


class ApprovalDecision(Strict):
    """The reason of the decision, which the caller gets."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "Agreed with the customer."}]}
    )
    reason: ShortText | None = Field(default=None, description="In your own words; the caller reads it.")


class ApprovalAgreement(ApprovalDecision):
    """Why it is approved, and, of access, how much of it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "reason": "For the release alone.",
                    "access": {"expires_at": "2026-12-24T00:00:00Z"},
                }
            ]
        },
    )
    access: AccessNarrowing | None = Field(
        default=None, description="Less than what is asked for; of requests for access alone."
    )


class ApprovalArguments(Strict):
    """The arguments of the call that asked: those that it will run with, since an approval is bound to them."""

    approval_id: ApprovalId
    kept: bool = Field(
        description="Whether they are on record. They are not when the server's `keep_arguments` is `off`, "
        "or their retention is over."
    )
    arguments: KeptArguments | None = Field(description="None when they are not kept.")
