"""Request and response models of approvals, access requests and requestable servers."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

from app.domain.risk import Risk
from app.features.audit.schemas import Actor, KeptArguments
from app.features.identities.schemas import IdentityKind
from app.http.pagination import ListQuery
from app.http.schemas import CleanText, ShortText, Strict, Time, example
from app.http.selectors import ToolsByNamesModel, ToolsByRiskModel, ToolSelectorModel
from app.lib.ids import ApprovalId, EventId, GrantId, GroupId, IdentityId, PolicyId, ServerId, TokenId, ToolId

MAX_SERVERS = 50
"""Per response, since each server comes with its tools."""


def _require_selection(selector: ToolSelectorModel) -> ToolSelectorModel:
    match selector:
        case ToolsByNamesModel(names=[]) | ToolsByRiskModel(risk=[]):
            raise ValueError("it selects no tool")
    return selector


SomeTools = Annotated[ToolSelectorModel, AfterValidator(_require_selection)]
Because = TypeAliasType(
    "Because",
    Annotated[
        str,
        StringConstraints(min_length=1, max_length=500),
        CleanText,
        Field(description="The reason, for the people who decide.", examples=["I close the quarter."]),
    ],
)


class AccessRequest(Strict):
    """A request for access to a requestable server, for yourself or for an agent that you own."""

    model_config = example(
        {
            "kind": "access",
            "server": "git",
            "tools": {"kind": "names", "names": ["git_log"]},
            "expires_at": "2099-01-01T00:00:00Z",
            "reason": "I review the release.",
        }
    )
    kind: Literal["access"]
    server: ShortText = Field(description="The slug or the id of the server.", examples=["git"])
    tools: SomeTools = Field(description="Which of its tools; named tools must exist.")
    expires_at: Time = Field(description="When the access should expire: at most a year from now.")
    reason: Because
    identity_id: IdentityId | None = Field(
        default=None, description="Your agent that needs it; yourself by default."
    )


class AccessGiven(Strict):
    """The granted access: as requested, or less."""

    tools: ToolSelectorModel
    expires_at: datetime = Field(description="Until when.")
    grant_id: GrantId


class ApprovalAccess(Strict):
    """The requested access."""

    tools: ToolSelectorModel
    expires_at: datetime = Field(description="The requested expiry.")
    granted: AccessGiven | None = Field(description="The granted access; null unless approved.")


class AccessNarrowing(Strict):
    """Less than the requested access. Absent fields stay as requested."""

    tools: SomeTools | None = Field(default=None, description="Which of the requested tools.")
    expires_at: Time | None = Field(default=None, description="An earlier end.")


class RequestableTool(Strict):
    """A tool that can be requested."""

    name: str = Field(description="Its name on the server.", examples=["git_log"])
    title: str | None = Field(description="Its display name on the server.", examples=["Show the log"])
    risk: Risk = Field(description="How dangerous it is.")


class RequestableServer(Strict):
    """A server that can be requested."""

    id: ServerId
    slug: str = Field(description="Its slug.", examples=["git"])
    name: str = Field(description="Its display name.", examples=["Git"])
    description: str | None = Field(description="What it is for.", examples=["Our repositories."])
    tools: list[RequestableTool] = Field(description="Its active tools, by name.")


class RequestableQuery(ListQuery):
    """Filters of the requestable servers."""

    limit: int = Field(default=20, ge=1, le=MAX_SERVERS, description="Items a page.")
    q: ShortText | None = Field(
        default=None, description="Text in slug, name or description, or in name or title of a tool."
    )


ApprovalKind = TypeAliasType(
    "ApprovalKind",
    Annotated[
        Literal["call", "access"],
        Field(
            description="`call`: one call of a tool, with exactly the arguments of the request. `access`: "
            "access to a server that a person requested."
        ),
    ],
)
ApprovalStatus = TypeAliasType(
    "ApprovalStatus",
    Annotated[
        Literal["pending", "approved", "denied", "expired", "cancelled", "consumed"],
        Field(
            description="`pending`: not decided yet; `approved`: the call can be repeated, or access has "
            "become a grant; `consumed`: its one call ran; `expired`: not decided or not used in "
            "time; `cancelled`: ended with its token, its identity or its group, or withdrawn."
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
            description="Why it is void: its token is revoked or expired, its identity is offboarded, the "
            "tool is removed or its definition or risk changed, a policy that required it "
            "changed, or the server can no longer be requested."
        ),
    ],
)


class ApprovalIdentity(Strict):
    """The requester: the identity whose token was used, or that gets the access."""

    id: IdentityId
    kind: IdentityKind
    name: str | None = Field(description="Its current name; null once it is erased.", examples=["Ada"])


class ApprovalOwner(Strict):
    """The owner of the agent that made the request."""

    id: IdentityId
    name: str | None = Field(description="Their current name; null once erased.", examples=["Ada"])


class ApprovalToken(Strict):
    """The token that was used."""

    id: TokenId
    name: str | None = Field(description="The name of the token.", examples=["laptop"])


class ApprovalServer(Strict):
    """The server of the call or of the access."""

    id: ServerId
    slug: str | None = Field(description="Its slug.", examples=["payments"])
    name: str | None = Field(description="Its display name.", examples=["Payments"])


class ApprovalTool(Strict):
    """The tool of the call."""

    id: ToolId | None = Field(description="Its id, while the server has it.")
    name: str = Field(description="Its name on the server.", examples=["refund"])
    title: str | None = Field(description="Its display name on the server.", examples=["Refund"])
    risk: Risk | None = Field(description="Its current risk.")


class ApprovalPolicy(Strict):
    """A policy that requires this approval."""

    id: PolicyId
    version: int = Field(description="The version that required it.", examples=[3])
    name: str | None = Field(description="The current name of the policy.", examples=["large refunds"])
    reason: str | None = Field(
        description="Its annotation `@reason`.", examples=["Refunds above 100 need a second person."]
    )


class ApprovalGroup(Strict):
    """The group whose members may decide."""

    id: GroupId | None = Field(description="Null when there was no group of this name.")
    name: str = Field(
        description="Its name, as in the policy, or its current one.", examples=["Finance leads"]
    )


class ApprovalView(Strict):
    """An approval, its subject and its state. Its subject never changes."""

    model_config = ConfigDict(title="Approval")
    id: ApprovalId
    kind: ApprovalKind
    state: ApprovalStatus
    identity: ApprovalIdentity
    owner: ApprovalOwner | None = Field(description="Null when a person made the request.")
    token: ApprovalToken | None = Field(description="The token that was used; null for access.")
    server: ApprovalServer | None = Field(description="The server of the call or of the access.")
    tool: ApprovalTool | None = Field(description="The tool of the call; null for access.")
    access: ApprovalAccess | None = Field(description="The requested access; null for a call.")
    policies: list[ApprovalPolicy] = Field(description="The policies that require the approval.")
    approver_group: ApprovalGroup | None = Field(
        description="The group whose members may decide: for access, the one that owns the server now."
    )
    reason: str | None = Field(
        description="The reason in the caller's own words, unverified.",
        examples=["The customer was charged twice."],
    )
    arguments_digest: str | None = Field(
        description="HMAC-SHA256 of the canonical arguments, in hex, as in the audit log.",
        examples=["9f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d0819f86d081"],
    )
    arguments_kept: bool = Field(
        description="Whether the arguments are recorded and can be read: see `keep_arguments` of the server."
    )
    event_id: EventId | None = Field(description="The audit event of the first such call, or of the request.")
    request_count: int = Field(description="How many calls needed it so far.", examples=[1])
    may_decide: bool = Field(description="Whether you may decide it now.")
    void: ApprovalDefect | None = Field(description="Why it is void; null if it is not.")
    expires_at: datetime | None = Field(
        description="Until when it can be decided; once approved, until when the call can be repeated. Null "
        "for approved access, whose grant has the expiry."
    )
    decided_by: Actor | None = Field(description="Who approved or denied it.")
    decided_at: datetime | None = Field(description="When that was.")
    decision_reason: str | None = Field(
        description="The reason of the decision, which the caller sees.",
        examples=["Agreed with the customer."],
    )
    consumed_by: EventId | None = Field(description="The call that ran with it.")
    consumed_at: datetime | None = Field(description="When that was.")
    url: str = Field(
        description="The page where people decide it.",
        examples=["https://scopegate.example.com/console/approvals/apr_01jdpnwz00e008000000000000"],
    )
    created_at: datetime
    updated_at: datetime
    revision: int


class ApprovalQuery(ListQuery):
    """Filters of the list of approvals; each can be repeated, and then any of its values matches."""

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
    """The reason of the decision, which the caller sees."""

    model_config = example({"reason": "Agreed with the customer."})
    reason: ShortText | None = Field(default=None, description="In your own words; the caller sees it.")


class ApprovalAgreement(ApprovalDecision):
    """The reason of an approval, and for access an optional narrowing."""

    model_config = example(
        {"reason": "Only for the release.", "access": {"expires_at": "2098-12-24T00:00:00Z"}}
    )
    access: AccessNarrowing | None = Field(
        default=None, description="Less than requested; only for access requests."
    )


class ApprovalArguments(Strict):
    """The arguments of the call. It will run with exactly these, since an approval is bound to them."""

    approval_id: ApprovalId
    kept: bool = Field(
        description="Whether they are recorded. They are not if the server's `keep_arguments` is `off`, or "
        "their retention is over."
    )
    arguments: KeptArguments | None = Field(description="Null when they are not kept.")
