"""Effective access at a given time, with reasons: what an identity reaches, and who can call a tool."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field
from pydantic.config import JsonDict
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypeAliasType

from app.access.point_in_time import AccessReader
from app.access.reach import (
    MAX_IDENTITIES,
    MAX_SERVERS,
    Row,
    ToolCaller,
    build_matrix,
    find_callers,
    reach_page,
)
from app.access.snapshot import AccessSnapshot
from app.domain.access import Decision
from app.domain.errors import NotFound
from app.domain.objects import Part
from app.domain.reach import Reach, blocking_reason, stop_reason
from app.domain.risk import Risk
from app.features.identities.schemas import IdentityKind
from app.http.pagination import CursorParameter, Cursors, Limit
from app.http.runtime import Runtime
from app.http.schemas import Strict, Time, example
from app.lib.ids import GrantId, GroupId, IdentityId, PolicyId, ServerId, ToolId
from app.models.servers import Tool as ToolRow

AccessDecision = TypeAliasType(
    "AccessDecision",
    Annotated[
        Literal["allow", "require_approval"],
        Field(description="Whether a call runs now or needs an approval first."),
    ],
)
_SERVER, _TOOL = "srv_01jdpnwz00e008000000000000", "tool_01jdpnwz00e008000000000000"
_GRANT, _GROUP = "grant_01jdpnwz00e008000000000000", "grp_01jdpnwz00e008000000000000"
_IDENTITY = "idn_01jdpnwz00e008000000000000"
_WHY: dict[str, Any] = {
    "decision": "allow", "reason_code": "granted", "grant_id": _GRANT, "group_id": _GROUP,
    "policy_ids": [], "unconditional": True, "approver_groups": [],
}  # fmt: skip
_TOOL_EXAMPLE: dict[str, Any] = {"tool_id": _TOOL, "name": "read_note", "risk": "read", **_WHY}
_SERVER_EXAMPLE: dict[str, Any] = {
    "server_id": _SERVER, "slug": "notes", **_WHY, "tools": [_TOOL_EXAMPLE], "resources": _WHY, "prompts": _WHY,
}  # fmt: skip
_CALLER_EXAMPLE: dict[str, Any] = {"identity_id": _IDENTITY, "user_name": "ada", "kind": "person", **_WHY}
_AT = "The time that the answer is for, by the database's clock."
Stopped = Annotated[
    str | None,
    Field(
        description="Why none of its grants is effective: `identity_suspended`, `identity_offboarded`, or, for an "
        "agent, `owner_suspended`, `owner_offboarded`. Null when they are.",
        examples=["identity_suspended"],
    ),
]


class MomentQuery(Strict):
    """Pagination and the time to ask about."""

    at: Time | None = Field(
        default=None,
        description="The time to ask about; now by default. The past is answered from the history, the future "
        "by the current rules.",
    )
    limit: Limit = 50
    cursor: CursorParameter = None


class AccessQuery(MomentQuery):
    """Filters of an identity's effective access."""

    server_id: list[ServerId] = Field(default_factory=list)


class AccessReason(Strict):
    """Why something is within reach."""

    decision: AccessDecision
    reason_code: str = Field(description="The reason code, as in audit events.", examples=["granted"])
    grant_id: GrantId = Field(description="The grant that allows a call; the oldest of several.")
    group_id: GroupId | None = Field(
        description="The group that holds the grant; null when the identity itself holds it."
    )
    policy_ids: list[PolicyId] = Field(description="The policies that decided, if any did.")
    unconditional: bool = Field(
        description="Whether every call is allowed, regardless of its content. False where a policy reads the content, "
        "counts calls or asks for approval: then some calls may be denied or need an approval."
    )
    approver_groups: list[str] = Field(
        description="The groups that must approve each call, by one member each.",
        examples=[["finance leads"]],
    )


class ReachedToolView(AccessReason):
    """A tool within reach, with the reason."""

    model_config = example(_TOOL_EXAMPLE)
    tool_id: ToolId
    name: str = Field(description="Its name on the server.")
    risk: Risk


class ReachedServerView(AccessReason):
    """A server within reach, with the reason and its tools within reach."""

    model_config = example(_SERVER_EXAMPLE)
    server_id: ServerId
    slug: str = Field(description="Its name in URLs and tool names.")
    tools: list[ReachedToolView] = Field(
        description="By name. Empty when a grant reaches the server but none of its active tools."
    )
    resources: AccessReason | None = Field(
        description="Why its resources are within reach; null when they are not."
    )
    prompts: AccessReason | None = Field(
        description="Why its prompts are within reach; null when they are not."
    )

    @classmethod
    def from_reach(cls, reach: Reach, group_of: Mapping[UUID, UUID]) -> Self:
        """Build the view, given the groups that hold the grants."""
        resources, prompts = (reach.parts.get(part) for part in (Part.RESOURCES, Part.PROMPTS))
        return cls(
            server_id=reach.server.id,
            slug=reach.server.slug,
            tools=[
                ReachedToolView(
                    tool_id=tool.id, name=tool.name, risk=tool.risk, **_reason(decision, group_of)
                )
                for tool, decision in reach.tools
            ],
            resources=None if resources is None else AccessReason(**_reason(resources, group_of)),
            prompts=None if prompts is None else AccessReason(**_reason(prompts, group_of)),
            **_reason(reach.decision, group_of),
        )


class IdentityAccessView(Strict):
    """The servers and tools that an identity reaches at a given time. If nothing, `stopped` has the reason."""

    model_config = example(
        {
            "identity_id": _IDENTITY,
            "at": "2026-01-05T09:00:00Z",
            "stopped": None,
            "items": [_SERVER_EXAMPLE],
            "next_cursor": None,
        }
    )
    identity_id: IdentityId
    at: datetime = Field(description=_AT)
    stopped: Stopped
    items: list[ReachedServerView] = Field(description="The servers of this page, by slug.")
    next_cursor: str | None


class ToolCallerView(AccessReason):
    """An identity that can call the tool, with the reason."""

    model_config = example(_CALLER_EXAMPLE)
    identity_id: IdentityId
    user_name: str = Field(description="Its current user name.", examples=["ada"])
    kind: IdentityKind

    @classmethod
    def from_caller(cls, caller: ToolCaller) -> Self:
        """Build the view of a caller."""
        grant_id = caller.decision.grant_id
        group_of = {} if grant_id is None or caller.group_id is None else {grant_id: caller.group_id}
        return cls(
            identity_id=caller.id,
            user_name=caller.user_name,
            kind=caller.kind,  # type: ignore[arg-type]
            **_reason(caller.decision, group_of),
        )


class ToolAccessView(Strict):
    """Who can call a tool at a given time. If no one can, regardless of grants, `stopped` has the reason."""

    model_config = example(
        {
            "tool_id": _TOOL,
            "at": "2026-01-05T09:00:00Z",
            "stopped": None,
            "items": [_CALLER_EXAMPLE],
            "next_cursor": None,
        }
    )
    tool_id: ToolId
    at: datetime = Field(description=_AT)
    stopped: str | None = Field(
        description="Why no one can call it: `server_disabled`, `server_unknown`, `tool_quarantined` or `tool_unknown`."
        " Null otherwise.",
        examples=["tool_quarantined"],
    )
    items: list[ToolCallerView] = Field(description="The identities of this page, newest first.")
    next_cursor: str | None


def _reason(decision: Decision, group_of: Mapping[UUID, UUID]) -> dict[str, Any]:
    grant_id = decision.grant_id
    return {
        "decision": decision.effect.value,
        "reason_code": decision.reason_code,
        "grant_id": grant_id,
        "group_id": None if grant_id is None else group_of.get(grant_id),
        "policy_ids": list(decision.policy_ids),
        "unconditional": decision.for_any_call,
        "approver_groups": list(dict.fromkeys(demand.group for demand in decision.asks)),
    }


_COUNTS: JsonDict = {"tools": 7, "approval_required": 1, "destructive": 1}
_CELL: JsonDict = {"server_id": _SERVER, "reached": True, **_COUNTS, "is_whole": True}
_ROW: JsonDict = {"identity_id": _IDENTITY, "stopped": None, "cells": [_CELL]}


class AccessMatrixQuery(Strict):
    """The identities (rows) and servers (columns) of a matrix."""

    identity_id: list[IdentityId] = Field(
        min_length=1, max_length=MAX_IDENTITIES, description=f"The rows, at most {MAX_IDENTITIES}."
    )
    server_id: list[ServerId] = Field(
        min_length=1, max_length=MAX_SERVERS, description=f"The columns, at most {MAX_SERVERS}."
    )


class AccessMatrixCell(Strict):
    """How much of a server an identity reaches now. A token can only narrow this."""

    model_config = example(_CELL)
    server_id: ServerId
    reached: bool = Field(description="Whether the server is within reach, even without an active tool.")
    tools: int = Field(
        description="How many of its tools can be called, including those that need an approval."
    )
    approval_required: int = Field(description="Of those, how many need an approval for each call.")
    destructive: int = Field(description="Of those, how many are destructive.")
    is_whole: bool = Field(
        description="Whether all of its tools were checked. A large matrix checks only the first of many, by name."
    )


class AccessMatrixRow(Strict):
    """What one identity reaches of each server."""

    model_config = example(_ROW)
    identity_id: IdentityId
    stopped: Stopped
    cells: list[AccessMatrixCell] = Field(description="In the order of the requested servers.")

    @classmethod
    def of(cls, row: Row) -> Self:
        """Build a row of the matrix."""
        cells = [
            AccessMatrixCell(
                server_id=id,
                reached=tally.reached,
                tools=tally.tools,
                approval_required=tally.approval_required,
                destructive=tally.destructive,
                is_whole=tally.is_whole,
            )
            for id, tally in row.tallies
        ]
        return cls(identity_id=row.identity_id, stopped=row.stopped, cells=cells)


class AccessMatrix(Strict):
    """Effective access of identities to servers. Identities and servers that do not exist are left out."""

    at: datetime = Field(description="The time of the answer, by the database's clock.")
    items: list[AccessMatrixRow] = Field(description="In the order of the requested identities.")


async def list_identity_access(
    session: AsyncSession, snapshot: AccessSnapshot, identity_id: UUID, query: AccessQuery, runtime: Runtime
) -> IdentityAccessView:
    """Read a page of what an identity reaches. Raises ``NotFound``."""
    filters = {"identity_id": identity_id, "server_id": sorted(query.server_id), "at": query.at}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_identity_access", filters)
    position = cursors.read(query.cursor)
    reader = AccessReader(session, snapshot, query.at, named_by_grants=True)
    state = await reader.of([identity_id])
    identity = state.identities.get(identity_id)
    if identity is None:
        raise NotFound("There is no such identity, or there was none at that time.")
    reason = stop_reason(identity, reader.at)
    servers = () if reason is not None else state.servers.values()
    selected = [server for server in servers if not query.server_id or server.id in query.server_id]
    after = None if position is None else str(position[0])
    reaches, following = await reach_page(
        identity, selected, state.context, reader.at, after=after, limit=query.limit
    )
    return IdentityAccessView(
        identity_id=identity_id,
        at=reader.time,
        stopped=reason,
        items=[ReachedServerView.from_reach(reach, state.group_of) for reach in reaches],
        next_cursor=None if following is None else cursors.write([following]),
    )


async def list_callers(
    session: AsyncSession, snapshot: AccessSnapshot, tool: ToolRow, query: MomentQuery, runtime: Runtime
) -> ToolAccessView:
    """Read a page of the identities that can call a tool."""
    filters = {"tool_id": tool.id, "at": query.at}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_tool_access", filters)
    position = cursors.read(query.cursor)
    reader = AccessReader(session, snapshot, query.at, server_ids=[tool.server_id])
    server = (await reader.of([])).servers.get(tool.server_id)
    reason = blocking_reason(server, tool.name, reader.at)
    after = None if position is None else UUID(position[0])
    callers, following = (
        ([], None)
        if reason is not None
        else await find_callers(session, reader, tool.server_id, tool.name, after=after, limit=query.limit)
    )
    return ToolAccessView(
        tool_id=tool.id,
        at=reader.time,
        stopped=reason,
        items=[ToolCallerView.from_caller(caller) for caller in callers],
        next_cursor=None if following is None else cursors.write([following]),
    )


async def count_access(
    session: AsyncSession, snapshot: AccessSnapshot, query: AccessMatrixQuery
) -> AccessMatrix:
    """Count what identities reach of servers now, for each pair."""
    reader = AccessReader(session, snapshot, server_ids=query.server_id)
    rows = await build_matrix(reader, query.identity_id, query.server_id)
    return AccessMatrix(at=reader.time, items=[AccessMatrixRow.of(row) for row in rows])
