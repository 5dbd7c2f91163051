"""Queries of tools and their history, and of what selectors reach. Tools of an ended server are hidden with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import ColumnElement, Select, Text, Uuid, any_, cast, false, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.rows import has_text
from app.domain.objects import ToolState
from app.features.tools.schemas import ToolQuery
from app.http.authorization import Caller, Permission
from app.http.pagination import Sorts, select_filtered
from app.http.schemas import Strict
from app.models.audit import ObjectVersion
from app.models.servers import TOOL_TEXTS, Server, Tool


def _of_servers(tools: Select[Tool], *, ended: bool) -> Select[Tool]:
    statement = tools.join(Server, col(Server.id) == col(Tool.server_id))
    return statement if ended else statement.where(col(Server.ended_at).is_(None))


SORTS: Sorts = {"name": col(Tool.name)}
"""The sort orders of the list, with an index for each."""


def select_tools(query: ToolQuery) -> Select[Tool]:
    """Select the tools that match a filter; removed ones only on demand."""
    filtered = select_filtered(Tool, query, "server_id", "name", "risk", "state")
    statement = _of_servers(filtered, ended=query.include == "ended")
    if not query.state and query.include != "ended":
        statement = statement.where(col(Tool.state) != ToolState.REMOVED)
    if query.q:
        texts = (col(Tool.name), col(Tool.title), col(Tool.description))
        statement = statement.where(has_text(query.q, *texts, indexed=TOOL_TEXTS))
    return statement


async def find(session: AsyncSession, tool_id: UUID, *, ended: bool = False) -> Tool | None:
    """Find a tool; a removed one or one of an ended server only on demand."""
    statement = _of_servers(select(Tool).where(col(Tool.id) == tool_id), ended=ended)
    if not ended:
        statement = statement.where(col(Tool.state) != ToolState.REMOVED)
    return (await session.scalars(statement)).one_or_none()


async def tools_of_server(session: AsyncSession, server_id: UUID) -> dict[str, Tool]:
    """All current and former tools of a server, by exact name. The caller has locked the server's row."""
    statement = select(Tool).where(col(Tool.server_id) == server_id)
    rows = await session.scalars(statement.execution_options(populate_existing=True))
    return {row.name: row for row in rows}


async def approved_content(session: AsyncSession, tool: Tool) -> dict[str, Any] | None:
    """The last approved definition from the history; ``None`` if there is none."""
    if tool.approved_digest is None:
        return None
    content = col(ObjectVersion.content)
    query = (
        select(content)
        .where(
            col(ObjectVersion.object_id) == tool.id,
            content["definition_digest"].as_string() == tool.approved_digest.hex(),
        )
        .order_by(col(ObjectVersion.version).desc())
        .limit(1)
    )
    return await session.scalar(query)


MAX_COUNTED = 10_000
"""Maximum of counted servers and tools, so that a large fleet does not slow down a change."""

_MAX_WARNED = 100

_MAX_SUGGESTED_FOR = 3
"""Maximum of unknown names per response with a suggestion."""

_MAX_COMPARED = 500

_MIN_ALIKE = 0.7


class Reaches(Strict):
    """How much a selector or scope reaches now, without policies. Only a preview counts more than 10,000."""

    servers: int = Field(description="How many servers.", examples=[2])
    tools: int = Field(description="Number of active tools on them.", examples=[7])


class SelectorWarning(Strict):
    """An entry of a selector or scope that matches nothing now. The change was made anyway."""

    pointer: str = Field(description="JSON pointer into the grant or token.", examples=["/tools/names/0"])
    code: str = Field(
        description="`no_server`, `no_tool`, `unknown_tool`, `empty_scope`, or `not_granted`: no live grant of "
        "the identity reaches it.",
        examples=["unknown_tool"],
    )
    detail: str = Field(
        description="A description.",
        examples=["No tool of these servers is named git_sttus. Did you mean git_status?"],
    )


@dataclass(frozen=True, slots=True)
class Selected:
    """A pair of stored selectors. ``pointer`` is its place in the response, such as ``/scope/entries/0``."""

    servers: Mapping[str, Any]
    tools: Mapping[str, Any]
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """The reach of selectors, with warnings."""

    reaches: Reaches
    warnings: list[SelectorWarning]


def may_see_reach(caller: Caller) -> bool:
    """Whether this caller may see counts and warnings, which reveal servers and tools."""
    return caller.may(Permission.SERVERS_READ) and caller.may(Permission.TOOLS_READ)


async def find_reach(
    session: AsyncSession, wanted: Sequence[Selected], granted: Sequence[Selected] | None = None
) -> Finding:
    """Compute what any of ``wanted`` reaches, within ``granted`` if given: one statement, and another for unknown
    names."""
    wanted_servers, wanted_tools = _selects_any(wanted)
    servers, tools = [wanted_servers], [wanted_tools]
    within: ColumnElement[bool] = true()
    if granted is not None:
        granted_servers, within = _selects_any(granted)
        # Pair by pair: a server is reached if one entry and one grant both select it.
        servers.append(granted_servers)
        tools.append(within)
    each = [column for one in wanted for column in _lookup_columns(one, within)]
    counts = _count(_servers(*servers)), _count(_tools(col(Tool.state) == ToolState.ACTIVE, *tools))
    row = (await session.execute(select(*counts, *each))).one()
    reaches = Reaches(servers=row[0], tools=row[1])
    warnings: list[SelectorWarning] = []
    suggest = _MAX_SUGGESTED_FOR
    for index, one in enumerate(wanted):
        entry_warnings = await _warnings(session, one, row[2 + 4 * index : 6 + 4 * index], suggest)
        suggest -= sum(warning.code == "unknown_tool" for warning in entry_warnings)
        warnings += entry_warnings
    return Finding(reaches, warnings)


def _selects_any(selected: Sequence[Selected]) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Whether any of the pairs selects a row of ``servers``, and a row of its ``tools``."""
    if not selected:
        return false(), false()
    servers = [_selects_server(one.servers) for one in selected]
    pairs = [server & _selects_tool(one.tools) for server, one in zip(servers, selected, strict=True)]
    return or_(*servers), or_(*pairs)


def _selects_server(stored: Mapping[str, Any]) -> ColumnElement[bool]:
    """The same as the domain's ``matches`` of a stored selector, in SQL."""
    match stored["kind"]:
        case "ids":
            return col(Server.id) == any_(literal([UUID(id) for id in stored["ids"]], ARRAY(Uuid)))
        case "labels" if stored["labels"]:
            return cast(col(Server.labels), JSONB).contains(literal(stored["labels"], JSONB))
        case "all":
            return true()
    # Empty labels select nothing.
    return false()


def _selects_tool(stored: Mapping[str, Any]) -> ColumnElement[bool]:
    match stored["kind"]:
        case "all":
            return true()
        case "names":
            return col(Tool.name) == any_(literal(list(stored["names"]), ARRAY(Text)))
        case "risk":
            return col(Tool.risk) == any_(literal(list(stored["risk"]), ARRAY(Text)))
    return false()


def _servers(*conditions: ColumnElement[bool]) -> Any:
    return select(literal(1)).select_from(Server).where(col(Server.ended_at).is_(None), *conditions)


def _tools(*conditions: ColumnElement[bool]) -> Any:
    joined = select(literal(1)).select_from(Tool).join(Server, col(Server.id) == col(Tool.server_id))
    return joined.where(col(Server.ended_at).is_(None), *conditions)


def _count(rows: Any) -> ColumnElement[int]:
    return select(func.count()).select_from(rows.limit(MAX_COUNTED).subquery()).scalar_subquery()


def _lookup_columns(one: Selected, within: ColumnElement[bool]) -> list[ColumnElement[Any]]:
    """Whether a pair selects a server, a tool, and a tool within the grants; and the existing tool names."""
    server = _selects_server(one.servers)
    of_pair = server & _selects_tool(one.tools)
    is_there = col(Tool.state) != ToolState.REMOVED
    names: ColumnElement[Any] = literal(None, ARRAY(Text))
    if one.tools["kind"] == "names":
        matching = _tools(of_pair, is_there).with_only_columns(col(Tool.name)).distinct()
        names = func.array(matching.scalar_subquery())
    return [
        _servers(server).exists(),
        _tools(of_pair, is_there).exists(),
        _tools(of_pair, is_there, within).exists(),
        names,
    ]


async def _warnings(
    session: AsyncSession, one: Selected, found: Sequence[Any], suggest: int
) -> list[SelectorWarning]:
    """The warnings about a pair, given the values of its ``_lookup_columns``."""
    has_server, has_tool, is_granted, names = found
    if not has_server:
        return [_warning(f"{one.pointer}/servers", "no_server", "No server matches this selector.")]
    if one.tools["kind"] == "names" and one.tools["names"]:
        known_names = frozenset(names or ())
        unknown = [(index, name) for index, name in enumerate(one.tools["names"]) if name not in known_names]
        if unknown:
            return await _unknown_names(session, one, unknown[:_MAX_WARNED], suggest)
    if not has_tool:
        detail = "No tool of these servers matches this selector."
        return [_warning(f"{one.pointer}/tools", "no_tool", detail)]
    if not is_granted:
        detail = "No live grant of the identity reaches these tools."
        return [_warning(one.pointer, "not_granted", detail)]
    return []


def _warning(pointer: str, code: str, detail: str) -> SelectorWarning:
    return SelectorWarning(pointer=pointer, code=code, detail=detail)


async def _unknown_names(
    session: AsyncSession, one: Selected, unknown: Sequence[tuple[int, str]], suggest: int
) -> list[SelectorWarning]:
    names: list[str] = []
    if suggest > 0:
        there = _tools(_selects_server(one.servers), col(Tool.state) != ToolState.REMOVED)
        known = there.with_only_columns(col(Tool.name)).distinct().limit(_MAX_COMPARED)
        names = list(await session.scalars(known))
    warnings = []
    for place, (index, name) in enumerate(unknown):
        near = _nearest(name, names) if place < suggest else None
        detail = f"No tool of these servers is named {name}."
        if near is not None:
            detail += f" Did you mean {near}?"
        warnings.append(_warning(f"{one.pointer}/tools/names/{index}", "unknown_tool", detail))
    return warnings


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """The most similar name, by the number of common characters, if it is similar enough.

    The order of characters is not compared: for names made up by a hostile server, that takes seconds.
    """
    matcher = SequenceMatcher(b=name, autojunk=False)
    best, nearest = _MIN_ALIKE, None
    for one in names:
        matcher.set_seq1(one)
        if matcher.real_quick_ratio() > best and (alike := matcher.quick_ratio()) > best:
            best, nearest = alike, one
    return nearest
