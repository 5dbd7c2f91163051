"""Query and answer models of what an identity reaches."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from app.domain.access import Decision
from app.domain.objects import Tool
from app.domain.reach import Reach
from app.domain.risk import Risk
from app.kit.ids import GrantId, GroupId, IdentityId, ServerId, ToolId
from app.kit.pagination import CursorParameter, Limit
from app.kit.schemas import Strict

AccessDecision = TypeAliasType(
    "AccessDecision",
    Annotated[
        Literal["allow", "require_approval"],
        Field(description="What a call is met with now: it runs, or somebody has to approve it first."),
    ],
)
_SERVER, _TOOL = "srv_01jdpnwz00e008000000000000", "tool_01jdpnwz00e008000000000000"
_GRANT, _GROUP = "grant_01jdpnwz00e008000000000000", "grp_01jdpnwz00e008000000000000"
_IDENTITY = "idn_01jdpnwz00e008000000000000"
_WHY: dict[str, Any] = {"decision": "allow", "reason_code": "granted", "grant_id": _GRANT, "group_id": _GROUP}
_TOOL_EXAMPLE: dict[str, Any] = {"tool_id": _TOOL, "name": "read_note", "risk": "read", **_WHY}
_SERVER_EXAMPLE: dict[str, Any] = {"server_id": _SERVER, "slug": "notes", **_WHY, "tools": [_TOOL_EXAMPLE]}


class AccessQuery(Strict):
    """Which of the servers that an identity reaches, and how many at a time."""

    server_id: list[ServerId] = Field(default_factory=list)
    limit: Limit = 50
    cursor: CursorParameter = None


class Reason(BaseModel):
    """Why something is within reach."""

    model_config = ConfigDict(extra="forbid")
    decision: AccessDecision
    reason_code: str = Field(description="Why, as audit events say it.", examples=["granted"])
    grant_id: GrantId = Field(
        description="The grant that a call rests on; of several, the one that was made first."
    )
    group_id: GroupId | None = Field(
        description="The group that the grant was made to; null when it was made to the identity itself."
    )


class ReachedToolView(Reason):
    """A tool within reach, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_TOOL_EXAMPLE]})
    tool_id: ToolId
    name: str = Field(description="Its name on the server.")
    risk: Risk


class ReachedServerView(Reason):
    """A server within reach, and why, with those of its tools that are."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_SERVER_EXAMPLE]})
    server_id: ServerId
    slug: str = Field(description="What it is called in addresses and tool names.")
    tools: list[ReachedToolView] = Field(
        description="By name. None when a grant reaches the server and no tool that is active."
    )

    @classmethod
    def from_reach(cls, reach: Reach, group_of: Mapping[UUID, UUID]) -> Self:
        """As the answer says it, given the groups that grants were made to."""
        return cls(
            server_id=reach.server.id,
            slug=reach.server.slug,
            tools=[_tool(tool, decision, group_of) for tool, decision in reach.tools],
            **_reason(reach.decision, group_of),
        )


class IdentityAccessView(BaseModel):
    """What an identity reaches now, server by server. When nothing is, `stopped` says what keeps it so."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "identity_id": _IDENTITY,
                    "at": "2026-01-05T09:00:00Z",
                    "stopped": None,
                    "items": [_SERVER_EXAMPLE],
                    "next_cursor": None,
                }
            ]
        },
    )
    identity_id: IdentityId
    at: datetime = Field(description="The moment that it is true of, by the database's clock.")
    stopped: str | None = Field(
        description="Why none of its grants is effective: `identity_suspended`, `identity_offboarded`, or, for an "
        "agent, `owner_suspended`, `owner_offboarded`. Null when they are.",
        examples=["identity_suspended"],
    )
    items: list[ReachedServerView] = Field(description="The servers of this page, by slug.")
    next_cursor: str | None


def _tool(tool: Tool, decision: Decision, group_of: Mapping[UUID, UUID]) -> ReachedToolView:
    return ReachedToolView(tool_id=tool.id, name=tool.name, risk=tool.risk, **_reason(decision, group_of))


def _reason(decision: Decision, group_of: Mapping[UUID, UUID]) -> dict[str, Any]:
    grant_id = decision.grant_id
    return {
        "decision": decision.effect.value,
        "reason_code": decision.reason_code,
        "grant_id": grant_id,
        "group_id": None if grant_id is None else group_of.get(grant_id),
    }
