"""Request and response models of grants."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StrictBool, WrapValidator
from typing_extensions import TypeAliasType

from app.domain.objects import Server, Tool
from app.domain.risk import Risk
from app.features.tools.queries import Finding, Reaches, SelectorWarning
from app.http import selectors
from app.http.pagination import ORDER, ListQuery, Page
from app.http.schemas import LongText, Patch, ShortText, Strict, Time, absent, example
from app.lib.ids import ApprovalId, GrantId, GroupId, IdentityId, ServerId
from app.models.access import Grant

_MAX_SHOWN = 100
_PREVIEW_EXAMPLE: dict[str, Any] = {
    "reaches": {"servers": 1, "tools": 2},
    "warnings": [],
    "risks": {"read": 1, "write": 0, "destructive": 1, "unknown": 0},
    "servers": [
        {
            "server_id": "srv_01jdpnwz00e008000000000000",
            "slug": "git",
            "enabled": True,
            "tool_count": 2,
            "tools": [{"name": "git_log", "risk": "read"}, {"name": "git_reset", "risk": "destructive"}],
        }
    ],
}

GrantStatusName = TypeAliasType(
    "GrantStatusName",
    Annotated[
        Literal["active", "scheduled", "expired", "ended"],
        Field(description="By the clock: `scheduled` until `not_before`, `expired` from `expires_at`."),
    ],
)


class IdentityPrincipal(Strict):
    """A person or agent that holds the grant itself."""

    type: Literal["identity"]
    id: IdentityId


class GroupPrincipal(Strict):
    """A group, whose members hold the grant while they are in it."""

    type: Literal["group"]
    id: GroupId


Principal = TypeAliasType(
    "Principal",
    Annotated[
        IdentityPrincipal | GroupPrincipal,
        Field(discriminator="type"),
        WrapValidator(selectors.without_tag),
        Field(description="The holder of the grant: an identity, or the members of a group."),
    ],
)


class GrantCreate(Strict):
    """A durable entitlement: a principal, servers and tools, and an expiry."""

    model_config = example(
        {
            "principal": {"type": "identity", "id": "idn_01jdpnwz00e008000000000000"},
            "servers": {"kind": "labels", "labels": {"env": "prod"}},
            "tools": {"kind": "risk", "risk": ["read"]},
            "expires_at": "2099-01-01T00:00:00Z",
            "reason": "On call",
        }
    )
    principal: Principal
    servers: selectors.ServerSelectorModel
    tools: selectors.ToolSelectorModel
    resources: StrictBool | None = Field(
        default=None, description="Reaches the servers' resources; by default true when the tools are all."
    )
    prompts: StrictBool | None = Field(
        default=None, description="Reaches the servers' prompts; by default true when the tools are all."
    )
    not_before: Time | None = None
    expires_at: Time | None = None
    reason: LongText | None = None


class GrantUpdate(Patch):
    """The fields of a grant that can change; its principal cannot. A selector is replaced as a whole."""

    model_config = example({"tools": {"kind": "names", "names": ["git_log"]}})
    servers: selectors.ServerSelectorModel = absent()
    tools: selectors.ToolSelectorModel = absent()
    resources: StrictBool = absent()
    prompts: StrictBool = absent()
    not_before: Time | None = None
    expires_at: Time | None = None
    reason: LongText | None = None


GrantOrder = TypeAliasType(
    "GrantOrder", Annotated[Literal["-created_at", "created_at", "-expires_at", "expires_at"], ORDER]
)


class GrantQuery(ListQuery):
    """Filters of the list of grants; each can be repeated, and then any of its values matches."""

    identity_id: list[IdentityId] = Field(
        default_factory=list, description="Grants of these identities themselves."
    )
    group_id: list[GroupId] = Field(default_factory=list, description="Grants of these groups.")
    server_id: list[ServerId] = Field(
        default_factory=list,
        description="Grants that reach one of these servers, by id, by current labels, or as grants of all servers.",
    )
    status: list[GrantStatusName] = Field(default_factory=list)
    expires_after: Time | None = Field(
        default=None, description="Only those that expire after this time, or never."
    )
    expires_before: Time | None = Field(default=None, description="Only those that expire before this time.")
    q: ShortText | None = Field(default=None, description="Text in the reason.")
    include: Literal["ended"] | None = Field(
        default=None, description="`ended` shows ended ones too, to callers who may read the audit log."
    )
    sort: GrantOrder = Field(default="-created_at", description="The sort order of the list.")

    def includes_ended(self) -> bool:
        """Whether the list may contain ended grants."""
        return self.include is not None or "ended" in self.status


class GrantView(Strict):
    """A durable entitlement. ``status`` depends on the time."""

    model_config = example(
        {
            "id": "grant_01jdpnwz00e008000000000000",
            "principal": {"type": "identity", "id": "idn_01jdpnwz00e008000000000000"},
            "servers": {"kind": "labels", "labels": {"env": "prod"}},
            "tools": {"kind": "risk", "risk": ["read"]},
            "resources": False,
            "prompts": False,
            "not_before": None,
            "expires_at": "2099-01-01T00:00:00Z",
            "reason": "On call",
            "approval_id": None,
            "status": "active",
            "reaches": {"servers": 2, "tools": 7},
            "warnings": [],
            "ended_at": None,
            "created_at": "2026-01-05T09:00:00Z",
            "updated_at": "2026-01-05T09:00:00Z",
            "revision": 1,
        }
    )
    id: GrantId
    principal: Principal
    servers: selectors.ServerSelectorModel
    tools: selectors.ToolSelectorModel
    resources: bool = Field(description="Whether it reaches the servers' resources.")
    prompts: bool = Field(description="Whether it reaches the servers' prompts.")
    not_before: datetime | None = Field(description="When it starts; null: at its creation.")
    expires_at: datetime | None = Field(description="When it expires; null: it does not.")
    reason: str | None = Field(description="The reason for the grant.")
    approval_id: ApprovalId | None = Field(
        description="The access request that it was created for; null when there was none."
    )
    status: GrantStatusName
    reaches: Reaches | None = Field(
        description="How much it reaches now, without policies; null in lists, which do not compute it."
    )
    warnings: list[SelectorWarning] | None = Field(
        description="Parts of its selectors that match nothing now; null in lists, which do not compute it."
    )
    ended_at: datetime | None
    created_at: datetime
    updated_at: datetime
    revision: int

    @classmethod
    def from_row(cls, row: Grant, now: datetime, finding: Finding | None = None) -> Self:
        """Build the view of a stored grant at ``now``, with its reach if given."""
        computed = {"principal", "servers", "tools", "status", "reaches", "warnings"}
        plain = {name: getattr(row, name) for name in cls.model_fields if name not in computed}
        return cls(
            **plain,
            principal=principal_of(row),
            servers=selectors.show_server_selector(row.servers),
            tools=selectors.show_tool_selector(row.tools),
            status=status_of(row, now),
            reaches=None if finding is None else finding.reaches,
            warnings=None if finding is None else finding.warnings,
        )

    @classmethod
    def page(cls, rows: Sequence[Grant], next_cursor: str | None, now: datetime) -> Page["GrantView"]:
        """Build a page of views."""
        return Page[GrantView](items=[cls.from_row(row, now) for row in rows], next_cursor=next_cursor)


class GrantPreviewRequest(Strict):
    """The servers and tools of the grant to preview."""

    model_config = example(
        {
            "servers": {"kind": "labels", "labels": {"env": "prod"}},
            "tools": {"kind": "risk", "risk": ["read"]},
        }
    )
    servers: selectors.ServerSelectorModel
    tools: selectors.ToolSelectorModel


ToolsByRiskCounts = TypeAliasType(
    "ToolsByRiskCounts",
    Annotated[dict[Risk, int], Field(description="Number of tools by risk.", examples=[{"read": 4}])],
)


class PreviewedTool(Strict):
    """A tool that the grant would reach."""

    name: str = Field(description="Its name on the server.", examples=["git_log"])
    risk: Risk


class PreviewedServer(Strict):
    """A server that the grant would reach."""

    server_id: ServerId
    slug: str = Field(description="Its name in URLs and tool names.", examples=["git"])
    enabled: bool = Field(description="Whether the server accepts calls now.")
    tool_count: int = Field(description="Number of its tools that the grant would reach.")
    tools: list[PreviewedTool] = Field(description="The first 100 of them, by name.")


class GrantPreview(Strict):
    """The reach of a grant among the current servers and tools, without scopes and policies."""

    model_config = example(_PREVIEW_EXAMPLE)
    reaches: Reaches
    warnings: list[SelectorWarning] = Field(description="Parts of the selectors that match nothing now.")
    risks: ToolsByRiskCounts
    servers: list[PreviewedServer] = Field(description="The first 100 servers, by slug.")

    @classmethod
    def of(cls, reached: Sequence[tuple[Server, list[Tool]]], warnings: list[SelectorWarning]) -> Self:
        """Build the preview from the selected servers with the tools that the grant would allow, by name."""
        risks = Counter(tool.risk for _, tools in reached for tool in tools)
        return cls(
            reaches=Reaches(servers=len(reached), tools=risks.total()),
            warnings=warnings,
            risks={risk: risks[risk] for risk in Risk},
            servers=[
                PreviewedServer(
                    server_id=server.id,
                    slug=server.slug,
                    enabled=server.enabled,
                    tool_count=len(tools),
                    tools=[PreviewedTool(name=tool.name, risk=tool.risk) for tool in tools[:_MAX_SHOWN]],
                )
                for server, tools in reached[:_MAX_SHOWN]
            ],
        )


def principal_of(row: Grant) -> IdentityPrincipal | GroupPrincipal:
    """The holder of a stored grant."""
    if row.identity_id is not None:
        return IdentityPrincipal(type="identity", id=row.identity_id)
    group_id: UUID | None = row.group_id
    assert group_id is not None  # noqa: S101  # A check constraint of the table requires exactly one of them.
    return GroupPrincipal(type="group", id=group_id)


def status_of(row: Grant, now: datetime) -> GrantStatusName:
    """The status of a grant at a given time: live from ``not_before`` until just before ``expires_at``."""
    if row.ended_at is not None:
        return "ended"
    if row.expires_at is not None and row.expires_at <= now:
        return "expired"
    if row.not_before is not None and row.not_before > now:
        return "scheduled"
    return "active"
