"""Request and response models of the unused access report and of applying its proposals."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, WrapValidator
from typing_extensions import TypeAliasType

from app.access.unused import MAX_WINDOW, GrantFinding, Proposal, UsageState
from app.domain import scopes
from app.features.grants.schemas import GrantView, Principal, principal_of
from app.http import selectors
from app.http.pagination import CursorParameter, Limit
from app.http.schemas import Strict, example
from app.lib.ids import GrantId, GroupId, IdentityId, ServerId, TokenId
from app.models.tokens import Token

_MAX_SHOWN = 100
GRANT_EXAMPLE, _SERVER = "grant_01jdpnwz00e008000000000000", "srv_01jdpnwz00e008000000000000"
DIGEST_EXAMPLE = "6e0e2f6f2f8a1f3cbb8a62e7b8f2d5f90b6b53c7dd9b0b1c5d0e6f0a7a9c1e42"
_NARROW: dict[str, Any] = {
    "action": "narrow",
    "servers": {"kind": "ids", "ids": [_SERVER]},
    "tools": {"kind": "names", "names": ["git_log"]},
    "resources": False,
    "prompts": False,
    "notes": ["labels_no_longer_matched"],
    "digest": DIGEST_EXAMPLE,
}
_STALE_GRANT: dict[str, Any] = {
    "kind": "grant",
    "grant_id": GRANT_EXAMPLE,
    "revision": 1,
    "principal": {"type": "group", "id": "grp_01jdpnwz00e008000000000000"},
    "servers": {"kind": "labels", "labels": {"env": "prod"}},
    "tools": {"kind": "names", "names": ["git_log", "git_push"]},
    "resources": False,
    "prompts": False,
    "created_at": "2026-01-05T09:00:00Z",
    "expires_at": "2099-01-01T00:00:00Z",
    "observed_since": "2026-01-05T09:00:00Z",
    "state": "partly_used",
    "last_used_at": "2026-11-20T08:00:00Z",
    "used_by": 2,
    "held_by": 7,
    "used": [
        {"server_id": _SERVER, "part": "tools", "tool": "git_log", "last_used_at": "2026-11-20T08:00:00Z"}
    ],
    "used_count": 1,
    "unused": [{"server_id": _SERVER, "tool": "git_push"}],
    "unused_count": 1,
    "proposal": _NARROW,
}
_STALE_TOKEN: dict[str, Any] = {
    "kind": "token",
    "token_id": "tok_01jdpnwz00e008000000000000",
    "revision": 1,
    "identity_id": "idn_01jdpnwz00e008000000000000",
    "name": "laptop",
    "created_at": "2026-01-05T09:00:00Z",
    "expires_at": "2099-01-01T00:00:00Z",
    "observed_since": "2026-01-05T09:00:00Z",
    "state": "unused",
    "last_used_at": "2026-03-01T10:00:00Z",
    "proposal": {"action": "revoke"},
}

StaleKind = TypeAliasType(
    "StaleKind",
    Annotated[Literal["grant", "token"], Field(description="What was not used: a grant or a token.")],
)
StaleStateName = TypeAliasType(
    "StaleStateName",
    Annotated[
        Literal["unused", "partly_used", "in_use", "unknown"],
        Field(
            description="How much was used in the window: nothing, some, or all that it gives. `unknown`: it has not"
            " given what it gives, or was not watched, for so long."
        ),
    ],
)
UsedPart = TypeAliasType(
    "UsedPart",
    Annotated[
        Literal["tools", "resources", "prompts"],
        Field(description="What of a server was used: one of its tools, or its resources or prompts."),
    ],
)
NarrowingNote = TypeAliasType(
    "NarrowingNote",
    Annotated[
        Literal[
            "new_servers_excluded",
            "labels_no_longer_matched",
            "new_tools_excluded",
            "risks_no_longer_matched",
        ],
        Field(
            description="What else changes: later servers or tools are left out, or labels or risks are no longer read."
        ),
    ],
)
Days = Annotated[
    int,
    Field(ge=1, le=MAX_WINDOW.days, description="Length of the window, in days until now.", examples=[90]),
]


def _narrowable() -> list[StaleStateName]:
    return ["unused", "partly_used"]


class StaleQuery(Strict):
    """Filters of the report; each list may be repeated, and then any of its values matches."""

    unused_for_days: Days = 90
    kind: list[StaleKind] = Field(default_factory=list)
    state: list[StaleStateName] = Field(
        default_factory=_narrowable,
        description="By default, everything that could be narrowed. Only unused tokens are listed.",
    )
    identity_id: list[IdentityId] = Field(
        default_factory=list, description="Grants of these identities themselves, and their tokens."
    )
    group_id: list[GroupId] = Field(
        default_factory=list, description="Grants of these groups, and tokens of their members."
    )
    grant_id: list[GrantId] = Field(default_factory=list, description="Only these grants, and no tokens.")
    server_id: ServerId | None = Field(default=None, description="Only what reaches this server now.")
    limit: Limit = 50
    cursor: CursorParameter = None


class UsedThingView(Strict):
    """A tool, or resources or prompts of a server, used in the window."""

    server_id: ServerId
    part: UsedPart
    tool: str | None = Field(
        description="The tool, by its name on the server; null for another part.", examples=["git_log"]
    )
    last_used_at: datetime = Field(description="When it was last used, accurate to about a minute.")


class UnusedToolView(Strict):
    """A tool within reach that was not used in the window."""

    server_id: ServerId
    tool: str = Field(description="Its name on the server.", examples=["git_push"])


class EndProposal(Strict):
    """Nothing that the grant allows was used: end it."""

    action: Literal["end"]
    digest: str = Field(description="Identifies the proposal when you apply it.", examples=[DIGEST_EXAMPLE])


class NarrowProposal(Strict):
    """The narrowest grant that covers what was used, and what came within reach too late to be judged."""

    model_config = example(_NARROW)
    action: Literal["narrow"]
    servers: selectors.ServerSelectorModel
    tools: selectors.ToolSelectorModel
    resources: bool = Field(description="Whether it should reach the servers' resources.")
    prompts: bool = Field(description="Whether it should reach the servers' prompts.")
    notes: list[NarrowingNote] = Field(description="Changes beyond what is within reach today.")
    digest: str = Field(description="Identifies the proposal when you apply it.", examples=[DIGEST_EXAMPLE])


GrantProposal = TypeAliasType(
    "GrantProposal",
    Annotated[
        EndProposal | NarrowProposal,
        Field(discriminator="action"),
        WrapValidator(selectors.without_tag),
        Field(description="The proposed change of a grant. It never allows more than the grant does."),
    ],
)


class TokenProposal(Strict):
    """Revoke the token: `POST /tokens/{id}/revoke`."""

    action: Literal["revoke"]


class StaleGrantView(Strict):
    """A grant and its uses in the window."""

    model_config = example(_STALE_GRANT)
    kind: Literal["grant"]
    grant_id: GrantId
    revision: int = Field(description="The revision of the grant, as in its ETag.")
    principal: Principal
    servers: selectors.ServerSelectorModel
    tools: selectors.ToolSelectorModel
    resources: bool = Field(description="Whether it reaches the servers' resources.")
    prompts: bool = Field(description="Whether it reaches the servers' prompts.")
    created_at: datetime
    expires_at: datetime | None = Field(description="When it expires; null: it does not.")
    observed_since: datetime = Field(
        description="Since when its uses are known: when it began to allow what it allows, or when uses began to be "
        "recorded."
    )
    state: StaleStateName
    last_used_at: datetime | None = Field(
        description="When it was last used, also before the window; null: no use is known."
    )
    used_by: int = Field(description="How many holders used it in the window.")
    held_by: int = Field(description="How many hold it: one identity, or the members of the group.")
    used: list[UsedThingView] = Field(
        description="What was used in the window, the latest first; at most 100."
    )
    used_count: int = Field(description="How many things were used in the window.")
    unused: list[UnusedToolView] = Field(
        description="Tools that it allows and that were not used in the window; at most 100."
    )
    unused_count: int = Field(description="How many tools were not used.")
    proposal: GrantProposal | None = Field(description="Null when it is in use, or nothing is known.")

    @classmethod
    def of(cls, finding: GrantFinding) -> Self:
        """Build the view of a grant in the report."""
        row = finding.grant
        unused, unused_count = finding.unused(_MAX_SHOWN)
        plain = {"revision", "resources", "prompts", "created_at", "expires_at"}
        return cls(
            **row.model_dump(include=plain),
            kind="grant",
            grant_id=row.id,
            principal=principal_of(row),
            servers=selectors.show_server_selector(row.servers),
            tools=selectors.show_tool_selector(row.tools),
            observed_since=finding.observed_since,
            state=finding.state.value,
            last_used_at=finding.last_used_at,
            used_by=finding.used_by,
            held_by=finding.held_by,
            used=[
                UsedThingView.model_validate(one, from_attributes=True) for one in finding.used[:_MAX_SHOWN]
            ],
            used_count=len(finding.used),
            unused=[UnusedToolView(server_id=id, tool=name) for id, name in unused],
            unused_count=unused_count,
            proposal=None if finding.proposal is None else proposal_view(finding.proposal),
        )


class StaleTokenView(Strict):
    """A token that was not used in the window."""

    model_config = example(_STALE_TOKEN)
    kind: Literal["token"]
    token_id: TokenId
    revision: int = Field(description="The revision of the token, as in its ETag.")
    identity_id: IdentityId
    name: str = Field(description="Its name.")
    created_at: datetime
    expires_at: datetime = Field(description="When it expires.")
    observed_since: datetime = Field(description="When it was issued.")
    state: StaleStateName
    last_used_at: datetime | None = Field(description="When it was last presented; null: never.")
    proposal: TokenProposal

    @classmethod
    def of(cls, row: Token, last_used_at: datetime | None) -> Self:
        """Build the view of a token in the report."""
        plain = {"revision", "identity_id", "name", "created_at", "expires_at"}
        return cls(
            **row.model_dump(include=plain),
            kind="token",
            token_id=row.id,
            observed_since=row.created_at,
            state=UsageState.UNUSED.value,
            last_used_at=last_used_at,
            proposal=TokenProposal(action="revoke"),
        )


StaleAccess = TypeAliasType(
    "StaleAccess",
    Annotated[
        StaleGrantView | StaleTokenView,
        Field(discriminator="kind"),
        WrapValidator(selectors.without_tag),
        Field(description="A grant or a token, and its uses in the window."),
    ],
)


def proposal_view(proposal: Proposal) -> EndProposal | NarrowProposal:
    """Convert a proposal to its API model."""
    right = proposal.right
    if right is None:
        return EndProposal(action="end", digest=proposal.digest)
    return NarrowProposal(
        action="narrow",
        servers=show_servers(right.servers),
        tools=show_tools(right.tools),
        resources=right.resources,
        prompts=right.prompts,
        notes=[note.value for note in proposal.notes],
        digest=proposal.digest,
    )


def show_servers(selector: scopes.ServerSelector) -> selectors.ServerSelectorModel:
    """Convert a server selector to its API model."""
    match selector:
        case scopes.ServersByIds(ids):
            return selectors.ServersByIdsModel(kind="ids", ids=sorted(ids))
        case scopes.ServersByLabels(labels):
            return selectors.ServersByLabelsModel(kind="labels", labels=dict(sorted(labels)))
        case scopes.AllServers():
            return selectors.AllServersModel(kind="all")


def show_tools(selector: scopes.ToolSelector) -> selectors.ToolSelectorModel:
    """Convert a tool selector to its API model."""
    match selector:
        case scopes.ToolsByNames(names):
            return selectors.ToolsByNamesModel(kind="names", names=sorted(names))
        case scopes.ToolsByRisk(risks):
            return selectors.ToolsByRiskModel(kind="risk", risk=sorted(risks))
        case scopes.AllTools():
            return selectors.AllToolsModel(kind="all")


MAX_APPLIED = 100

AppliedOutcome = TypeAliasType(
    "AppliedOutcome",
    Annotated[
        Literal["narrowed", "ended", "changed", "not_found"],
        Field(
            description="The outcome for a grant. `changed`: the proposal differs from the sent one, so "
            "nothing was done: read the report again. `not_found`: there is no such grant, or it "
            "has ended."
        ),
    ],
)


class AppliedProposal(Strict):
    """A proposal from the report, to apply."""

    grant_id: GrantId
    proposal_digest: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] = Field(
        description="The `digest` of the proposal, which covers the revision of the grant.",
        examples=[DIGEST_EXAMPLE],
    )


class StaleApply(Strict):
    """The proposals to apply, from a report for the same window."""

    model_config = example(
        {"unused_for_days": 90, "items": [{"grant_id": GRANT_EXAMPLE, "proposal_digest": DIGEST_EXAMPLE}]}
    )
    unused_for_days: Annotated[Days, Field(strict=True)]
    items: list[AppliedProposal] = Field(min_length=1, max_length=MAX_APPLIED)


class AppliedView(Strict):
    """The outcome for one proposal."""

    model_config = example({"grant_id": GRANT_EXAMPLE, "outcome": "ended", "grant": None})
    grant_id: GrantId
    outcome: AppliedOutcome
    grant: GrantView | None = Field(description="The grant after it was narrowed.")


class StaleApplied(Strict):
    """The outcome for each proposal, in the order of the request."""

    dry_run: bool = Field(description="Whether this is only a preview and nothing was changed.")
    items: list[AppliedView] = Field(description="One for each proposal in the request.")
