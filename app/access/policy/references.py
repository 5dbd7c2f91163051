"""References of policies to the database: the tools in their scope, and names that do not exist."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cedarpy import pst
from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.policy.checking import KnownTool
from app.access.policy.scope import REQUIRE_APPROVAL
from app.access.policy.text import Finding, Named, Statement
from app.domain.arguments import ArgumentKind, argument_types
from app.domain.objects import ToolState
from app.domain.policy import Act
from app.lib.ids import GROUP, IDENTITY, parse_id
from app.models.identities import Group, GroupMember, Identity
from app.models.servers import Server, Tool

MAX_TOOLS = 1_000
_MAX_LISTED = 3
_NUMBERS = frozenset({ArgumentKind.INTEGER, ArgumentKind.NUMBER})


@dataclass(frozen=True, slots=True)
class StoredTool:
    """A stored tool with its raw input schema."""

    slug: str
    name: str
    risk: str
    input_schema: object

    def known(self) -> KnownTool:
        """The tool as policies see it. Slow for a large schema."""
        return KnownTool(self.slug, self.name, self.risk, argument_types(self.input_schema))


async def reached_tools(session: AsyncSession, statement: Statement) -> tuple[list[StoredTool], bool]:
    """The tools in the scope of a policy, and whether there are more than the maximum."""
    reach = _reach(statement.policy.resource)
    if reach is None or Act.CALL_TOOL not in statement.acts():
        return [], False
    query = (
        select(col(Server.slug), col(Tool.name), col(Tool.risk), col(Tool.input_schema))
        .join(Server, col(Server.id) == col(Tool.server_id))
        .where(col(Server.ended_at).is_(None), col(Tool.state) != ToolState.REMOVED.value)
    )
    slug, name = reach
    if slug is not None:
        query = query.where(col(Server.slug) == slug)
    if name is not None:
        query = query.where(col(Tool.name) == name)
    rows = await session.execute(query.order_by(col(Server.slug), col(Tool.name)).limit(MAX_TOOLS + 1))
    tools = [StoredTool(*row) for row in rows]
    return tools[:MAX_TOOLS], len(tools) > MAX_TOOLS


async def number_type(session: AsyncSession, slug: str, tool: str, argument: str) -> str | None:
    """The number type of a tool's argument by its input schema; ``None`` if it has none."""
    query = (
        select(col(Tool.input_schema))
        .join(Server, col(Server.id) == col(Tool.server_id))
        .where(col(Server.slug) == slug, col(Server.ended_at).is_(None), col(Tool.name) == tool)
    )
    schema = await session.scalar(query.where(col(Tool.state) != ToolState.REMOVED.value))
    declared = argument_types(schema).get(argument)
    return declared.kind.value if declared is not None and declared.kind in _NUMBERS else None


def _reach(constraint: object) -> tuple[str | None, str | None] | None:
    """The server and the tool that the scope names; ``None`` if it matches no tool."""
    match constraint:
        case pst.ScopeIs(entity_type) if str(entity_type) != "Tool":
            return None
        case pst.ScopeEq(pst.EntityUid() as uid) | pst.ScopeIn(pst.EntityUid() as uid):
            if str(uid.type) == "Tool":
                slug, _, name = uid.id.partition("/")
                return slug, name
            return (uid.id, None) if isinstance(constraint, pst.ScopeIn) else None
        case pst.ScopeIsIn(_, pst.EntityUid() as uid):
            return uid.id, None
    return None, None


async def unknown_names(session: AsyncSession, statement: Statement) -> list[Finding]:
    """Warnings about names in a policy that do not exist, and about its approvers."""
    readers = {"Identity": _identities, "Group": _groups, "Server": _servers, "Tool": _tools}
    findings = []
    for type, read in readers.items():
        named = [each for each in statement.named() if each.type == type]
        there, word = await read(session, named), type.lower()
        findings += [
            Finding(f"unknown_{word}", f"There is no {word} {each.id}: nothing matches it.", each.offset)
            for each in named
            if each.id not in there
        ]
    return [*findings, *await _approvers(session, statement), *await _hidden_arguments(session, statement)]


async def _identities(session: AsyncSession, named: Sequence[Named]) -> set[str]:
    ids = _ids(IDENTITY, named)
    there = select(col(Identity.id)).where(
        col(Identity.id).in_(list(ids)), col(Identity.status) != "offboarded"
    )
    return {ids[id] for id in await session.scalars(there)} if ids else set()


async def _groups(session: AsyncSession, named: Sequence[Named]) -> set[str]:
    ids = _ids(GROUP, named)
    there = select(col(Group.id)).where(col(Group.id).in_(list(ids)), col(Group.ended_at).is_(None))
    return {ids[id] for id in await session.scalars(there)} if ids else set()


def _ids(prefix: str, named: Iterable[Named]) -> dict[object, str]:
    names: dict[object, str] = {}
    for each in named:
        try:
            names[parse_id(prefix, each.id)] = each.id
        except ValueError:
            continue
    return names


async def _servers(session: AsyncSession, named: Sequence[Named]) -> set[str]:
    slugs = [each.id for each in named if "\0" not in each.id]
    there = select(col(Server.slug)).where(col(Server.slug).in_(slugs), col(Server.ended_at).is_(None))
    return set(await session.scalars(there)) if slugs else set()


async def _tools(session: AsyncSession, named: Sequence[Named]) -> set[str]:
    pairs = [each.id.partition("/") for each in named if "\0" not in each.id]
    if not pairs:
        return set()
    matches = or_(*(and_(col(Server.slug) == slug, col(Tool.name) == name) for slug, _, name in pairs))
    there = (
        select(col(Server.slug), col(Tool.name))
        .join(Server, col(Server.id) == col(Tool.server_id))
        .where(matches, col(Server.ended_at).is_(None), col(Tool.state) != ToolState.REMOVED.value)
    )
    return {f"{slug}/{name}" for slug, name in await session.execute(there)}


async def _hidden_arguments(session: AsyncSession, statement: Statement) -> list[Finding]:
    """A warning if approvers would not see the arguments, because a server in the scope does not keep them."""
    reach = _reach(statement.policy.resource)
    if REQUIRE_APPROVAL not in statement.policy.annotations or reach is None:
        return []
    query = select(col(Server.slug)).where(
        col(Server.ended_at).is_(None), col(Server.keep_arguments) == "off"
    )
    if reach[0] is not None:
        query = query.where(col(Server.slug) == reach[0])
    slugs = list(await session.scalars(query.order_by(col(Server.slug)).limit(_MAX_LISTED + 1)))
    if not slugs:
        return []
    more = " and others" if len(slugs) > _MAX_LISTED else ""
    detail = (
        f"Approvers do not see the arguments of calls to {', '.join(slugs[:_MAX_LISTED])}{more}: keep_arguments "
        "is off there. Set it to approvals."
    )
    return [Finding("arguments_not_kept", detail, statement.where(REQUIRE_APPROVAL))]


async def _approvers(session: AsyncSession, statement: Statement) -> list[Finding]:
    """A warning if no member of the group could approve."""
    name = statement.policy.annotations.get(REQUIRE_APPROVAL)
    if name is None:
        return []
    members = exists().where(col(GroupMember.group_id) == col(Group.id))
    query = select(members).where(
        func.lower(col(Group.name)) == func.lower(name), col(Group.ended_at).is_(None)
    )
    inhabited = list(await session.scalars(query))
    if len(inhabited) > 1:
        detail = (
            f"Several groups are called {name}, so only callers with the role can approve, not their members."
        )
        return [Finding("ambiguous_group", detail, statement.where(REQUIRE_APPROVAL))]
    if any(inhabited):
        return []
    what = (
        "has no members who can approve"
        if inhabited
        else "does not exist: only those with the role can approve"
    )
    code = "empty_group" if inhabited else "unknown_group"
    return [Finding(code, f"The group {name} {what}.", statement.where(REQUIRE_APPROVAL))]
