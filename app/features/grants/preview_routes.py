"""``/grants/preview``: what a grant would reach."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from app.access.point_in_time import AccessReader
from app.access.snapshot import CurrentSnapshot
from app.domain.risk import Risk
from app.domain.scopes import ScopeEntry
from app.features.grants.preview import ReachedServer, reached
from app.features.tools.reach_queries import Reaches, Selected, SelectorWarning, find_reach
from app.http.authorization import Caller, Permission, authorize, requires
from app.http.problems import COMMON_PROBLEMS
from app.http.schemas import Strict
from app.http.selectors import (
    ServerSelectorModel,
    ToolSelectorModel,
    server_selector_to_domain,
    store_server_selector,
    store_tool_selector,
    tool_selector_to_domain,
)
from app.http.transaction import Session, TransactionalRoute
from app.lib.event_loop import in_slices
from app.lib.ids import ServerId

router = APIRouter(
    prefix="/api/v1/grants", tags=["grants"], route_class=TransactionalRoute, responses=COMMON_PROBLEMS
)

CanRead = Annotated[Caller, requires(Permission.GRANTS_READ)]
_MOST_SHOWN = 100
_EXAMPLE: dict[str, Any] = {
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


class GrantPreviewRequest(Strict):
    """The servers and tools that a grant would be of."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "servers": {"kind": "labels", "labels": {"env": "prod"}},
                    "tools": {"kind": "risk", "risk": ["read"]},
                }
            ]
        },
    )
    servers: ServerSelectorModel
    tools: ToolSelectorModel


ToolsByRiskCounts = TypeAliasType(
    "ToolsByRiskCounts",
    Annotated[dict[Risk, int], Field(description="How many tools of each risk.", examples=[{"read": 4}])],
)


class PreviewedTool(BaseModel):
    """A tool that it would reach."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(description="Its name on the server.", examples=["git_log"])
    risk: Risk


class PreviewedServer(BaseModel):
    """A server that it would reach."""

    model_config = ConfigDict(extra="forbid")
    server_id: ServerId
    slug: str = Field(description="What it is called in addresses and tool names.", examples=["git"])
    enabled: bool = Field(description="Whether the server takes calls now.")
    tool_count: int = Field(description="How many of its tools it would reach.")
    tools: list[PreviewedTool] = Field(description="The first 100 of them, by name.")

    @classmethod
    def of(cls, found: ReachedServer) -> Self:
        """As the answer says it."""
        return cls(
            server_id=found.server.id,
            slug=found.server.slug,
            enabled=found.server.enabled,
            tool_count=len(found.tools),
            tools=[PreviewedTool(name=tool.name, risk=tool.risk) for tool in found.tools[:_MOST_SHOWN]],
        )


class GrantPreview(BaseModel):
    """What a grant would reach of the servers and tools that there are now, apart from scopes and policies."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    reaches: Reaches
    warnings: list[SelectorWarning] = Field(description="What of the selectors matches nothing now.")
    risks: ToolsByRiskCounts
    servers: list[PreviewedServer] = Field(description="The first 100 servers, by slug.")

    @classmethod
    def of(cls, found: Sequence[ReachedServer], warnings: list[SelectorWarning]) -> Self:
        """As the answer says it."""
        risks = Counter(tool.risk for one in found for tool in one.tools)
        return cls(
            reaches=Reaches(servers=len(found), tools=risks.total()),
            warnings=warnings,
            risks={risk: risks[risk] for risk in Risk},
            servers=[PreviewedServer.of(one) for one in found[:_MOST_SHOWN]],
        )


@router.post("/preview", operation_id="preview_grant", summary="Tell what a grant would reach")
async def preview_grant(
    body: GrantPreviewRequest, caller: CanRead, session: Session, snapshot: CurrentSnapshot
) -> GrantPreview:
    """Of the servers and tools as they are now, whoever would hold it. Nothing is kept, and nobody is given anything.
    A grant by labels, by risk or of everything goes with the fleet: later it can reach more or less.
    """
    authorize(caller, Permission.TOOLS_READ)
    state = await AccessReader(session, snapshot).of([])
    right = ScopeEntry(
        server_selector_to_domain(body.servers),
        tool_selector_to_domain(body.tools),
        resources=False,
        prompts=False,
    )
    selected = Selected(store_server_selector(body.servers), store_tool_selector(body.tools))
    looked_up = await find_reach(session, [selected])
    return GrantPreview.of(await in_slices(reached(right, state.servers)), looked_up.warnings)
