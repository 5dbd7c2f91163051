"""Requests of test cases as policies see them: identities, servers and tools as they are, or as a case says."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from uuid import UUID

from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.arguments import argument_types
from app.domain.objects import Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.policy import Act, CallerProgram, PolicyInput
from app.domain.risk import Risk
from app.domain.scopes import GrantsScope
from app.features.policies.case_schemas import PolicyTestIdentity, PolicyTestOwner, PolicyTestRequest
from app.lib.ids import new_id
from app.models.groups import GroupMember
from app.models.identities import Identity as IdentityRow
from app.models.servers import Server as ServerRow
from app.models.tools import Tool as ToolRow

Slugged = tuple[str, str]


@dataclass(slots=True)
class Cast:
    """What is known of whoever and whatever the requests name."""

    identities: dict[UUID, IdentityRow] = field(default_factory=dict)
    groups: dict[UUID, list[UUID]] = field(default_factory=dict)
    servers: dict[str, ServerRow] = field(default_factory=dict)
    tools: dict[Slugged, ToolRow] = field(default_factory=dict)

    def request(self, asked: PolicyTestRequest, now: datetime) -> PolicyInput:
        """The request as policies see it. Takes its time over a large schema."""
        token = None
        identity = self._identity(asked.identity)
        for _ in range(asked.token_depth + 1):
            token = Token(new_id(), 1, identity, GrantsScope(), inf, parent=token)
        assert token is not None  # noqa: S101  # There is at least one.
        return PolicyInput(
            act=Act(asked.action),
            token=token,
            server=self._server(asked),
            tool=None if asked.tool is None else self._tool(asked, asked.tool),
            arguments=asked.arguments,
            at=(asked.time or now).timestamp(),
            address=asked.ip,
            program=CallerProgram(asked.client.name, asked.client.version),
        )

    def _identity(self, asked: PolicyTestIdentity) -> Identity:
        if asked.id is not None:
            return self._known(asked.id, with_owner=True)
        owner = None if asked.owner is None else self._owner(asked.owner)
        return _described(asked, asked.kind, owner)

    def _owner(self, asked: PolicyTestOwner) -> Identity:
        if asked.id is not None:
            return self._known(asked.id, with_owner=False)
        return _described(asked, "person", None)

    def _known(self, id: UUID, *, with_owner: bool) -> Identity:
        row = self.identities.get(id)
        if row is None:
            # Nobody has this id: a person whom no policy names otherwise.
            return Identity(id, 1, IdentityStatus.ACTIVE)
        owned = with_owner and row.owner_id is not None
        return Identity(
            id=id,
            version=1,
            status=IdentityStatus.ACTIVE,
            owner=self._known(row.owner_id, with_owner=False) if owned and row.owner_id else None,
            groups=tuple((group, 1) for group in self.groups.get(id, ())),
            kind=row.kind,
            attributes=tuple(sorted(row.attributes.items())),
        )

    def _server(self, asked: PolicyTestRequest) -> Server:
        row = self.servers.get(asked.server)
        labels = asked.labels if asked.labels is not None else (row.labels if row else {})
        return Server(row.id if row else new_id(), 1, asked.server, enabled=True, labels=labels)

    def _tool(self, asked: PolicyTestRequest, name: str) -> Tool:
        row = self.tools.get((asked.server, name))
        risk = asked.risk or (Risk(row.risk) if row else Risk.UNKNOWN)
        schema = asked.input_schema if asked.input_schema is not None else (row.input_schema if row else {})
        parameters = argument_types(schema)
        return Tool(row.id if row else new_id(), name, risk, ToolState.ACTIVE, None, parameters=parameters)


async def cast_of(session: AsyncSession, requests: Sequence[PolicyTestRequest]) -> Cast:
    """Read whoever and whatever these requests name."""
    cast = Cast()
    await _add_identities(session, cast, _ids(requests))
    owners = {row.owner_id for row in cast.identities.values() if row.owner_id is not None}
    await _add_identities(session, cast, owners - cast.identities.keys())
    slugs = {asked.server for asked in requests}
    # Of servers that had a slug one after the other, the last; one that has not ended comes after all that have.
    ended = col(ServerRow.ended_at).asc().nulls_last()
    for row in await session.scalars(select(ServerRow).where(col(ServerRow.slug).in_(slugs)).order_by(ended)):
        cast.servers[row.slug] = row
    by_id = {row.id: row.slug for row in cast.servers.values()}
    pairs = {
        (cast.servers[asked.server].id, asked.tool)
        for asked in requests
        if asked.tool is not None and asked.server in cast.servers
    }
    found = select(ToolRow).where(tuple_(col(ToolRow.server_id), col(ToolRow.name)).in_(pairs))
    for tool in await session.scalars(found) if pairs else ():
        cast.tools[by_id[tool.server_id], tool.name] = tool
    return cast


def _ids(requests: Iterable[PolicyTestRequest]) -> set[UUID]:
    asked = [one.identity for one in requests]
    named = {one.id for one in asked} | {one.owner.id for one in asked if one.owner is not None}
    return {id for id in named if id is not None}


async def _add_identities(session: AsyncSession, cast: Cast, ids: Iterable[UUID]) -> None:
    wanted = list(ids)
    if not wanted:
        return
    for row in await session.scalars(select(IdentityRow).where(col(IdentityRow.id).in_(wanted))):
        cast.identities[row.id] = row
    members = select(col(GroupMember.identity_id), col(GroupMember.group_id)).where(
        col(GroupMember.identity_id).in_(wanted)
    )
    for identity_id, group_id in await session.execute(members):
        cast.groups.setdefault(identity_id, []).append(group_id)


def _described(asked: PolicyTestOwner, kind: str, owner: Identity | None) -> Identity:
    return Identity(
        id=new_id(),
        version=1,
        status=IdentityStatus.ACTIVE,
        owner=owner,
        groups=tuple((group, 1) for group in asked.groups),
        kind=kind,
        attributes=tuple(sorted(asked.attributes.items())),
    )
