"""Access data at one point in time: current data, or past data from the version history.

The versions in past data are those of the history. No call is admitted with them.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.policy.compiled import Mode, PublishedPolicy
from app.access.policy.evaluator import evaluator_of
from app.access.reading import Fleet, Holders, make_grant
from app.access.snapshot import AccessSnapshot
from app.domain.access import PolicyContext
from app.domain.arguments import argument_types
from app.domain.errors import Invalid, StoreUnavailable, Unavailable
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.risk import Risk
from app.http.selectors import load_scope
from app.lib.ids import SERVER, parse_id

# Of two versions that one transaction wrote at the same time, the later one counts.
_AT = "valid_from <= :at AND coalesce(valid_to, 'infinity') > :at ORDER BY object_id, version DESC"

_SINCE = text("SELECT min(valid_from) FROM object_versions WHERE kind = 'identity'")

_IDENTITIES = text(f"""
SELECT DISTINCT ON (object_id) object_id, version, content FROM object_versions
WHERE kind = 'identity' AND object_id = ANY(CAST(:ids AS uuid[])) AND {_AT}
""")  # noqa: S608

_MEMBERSHIPS = text(f"""
SELECT DISTINCT ON (object_id) object_id, content ->> 'identity_id' AS identity_id, content ->> 'group_id' AS group_id
FROM object_versions
WHERE kind = 'membership' AND content ->> 'identity_id' = ANY(CAST(:ids AS text[])) AND {_AT}
""")  # noqa: S608

_GRANTS = text(f"""
SELECT DISTINCT ON (object_id) object_id, version, content FROM object_versions
WHERE kind = 'grant' AND (content ->> 'identity_id' = ANY(CAST(:ids AS text[]))
    OR content ->> 'group_id' = ANY(CAST(:groups AS text[]))) AND {_AT}
""")  # noqa: S608

_SERVERS = text(f"""
SELECT DISTINCT ON (object_id) object_id, version, content FROM object_versions
WHERE kind = 'server' AND (CAST(:ids AS uuid[]) IS NULL OR object_id = ANY(CAST(:ids AS uuid[]))) AND {_AT}
""")  # noqa: S608

_TOOLS = f"""
SELECT DISTINCT ON (object_id) object_id, content ->> 'server_id' AS server_id, content ->> 'name' AS name,
    content ->> 'risk' AS risk, content ->> 'state' AS state, content ->> 'approved_digest' AS approved_digest,
    CASE WHEN content ->> 'name' = :typed THEN content -> 'input_schema' END AS input_schema
FROM object_versions
WHERE kind = 'tool_definition' {{}} AND {_AT}
"""  # noqa: S608

_ALL_TOOLS, _TOOLS_OF = (
    text(_TOOLS.format("")),
    text(_TOOLS.format("AND content ->> 'server_id' = ANY(CAST(:servers AS text[]))")),
)

_CHAIN = text("""
WITH RECURSIVE chain AS (
    SELECT id, parent_id, revoked_at, 0 AS step FROM tokens WHERE id = :id
    UNION ALL
    SELECT t.id, t.parent_id, t.revoked_at, chain.step + 1 FROM tokens t JOIN chain ON t.id = chain.parent_id
)
SELECT chain.id, coalesce(revoked_at <= :at, false) AS revoked, kept.version, kept.content
FROM chain LEFT JOIN LATERAL (
    SELECT version, content FROM object_versions
    WHERE object_id = chain.id AND kind = 'token_scope' AND valid_from <= :at
        AND coalesce(valid_to, 'infinity') > :at
    ORDER BY version DESC LIMIT 1
) AS kept ON true ORDER BY step DESC
""")

_POLICIES = text(f"""
SELECT DISTINCT ON (object_id) object_id, version, content FROM object_versions
WHERE kind = 'policy' AND {_AT}
""")  # noqa: S608


async def identities_at(
    session: AsyncSession, ids: Collection[UUID], at: datetime
) -> tuple[dict[UUID, Identity], dict[UUID, UUID]]:
    """The identities that existed then, with the sources of their rights, and the group of each grant to a group."""
    contents = await _identity_contents(session, ids, at)
    owners = {
        UUID(content["owner_id"]) for _, content in contents.values() if content["owner_id"] is not None
    }
    all_contents = contents | await _identity_contents(session, owners - contents.keys(), at)
    groups = await _groups(session, all_contents, at)
    grants = await _grants(session, contents, {group for id in contents for group in groups.get(id, ())}, at)
    group_of = {grant.id: group for (_, group), made in grants.items() if group is not None for grant in made}

    def build(id: UUID, owner: Identity | None, *, rights: bool) -> Identity:
        version, content = all_contents[id]
        mine = groups.get(id, ())
        principals = [(id, None), *((None, group) for group in mine)] if rights else []
        return Identity(
            id=id,
            version=version,
            status=IdentityStatus(content["status"]),
            owner=owner,
            groups=tuple((group, 0) for group in mine),
            grants=tuple(
                sorted((g for who in principals for g in grants.get(who, ())), key=attrgetter("id"))
            ),
            kind=content["kind"],
            attributes=tuple(sorted(content["attributes"].items())),
        )

    def owner_of(id: UUID) -> Identity | None:
        owner = all_contents[id][1]["owner_id"]
        return None if owner is None else build(UUID(owner), None, rights=False)

    return {id: build(id, owner_of(id), rights=True) for id in contents}, group_of


async def servers_at(
    session: AsyncSession, at: datetime, ids: Collection[UUID] | None = None, typed: str | None = None
) -> dict[UUID, Server]:
    """The servers that existed then, optionally only these ``ids``, with their tools. Only the tool named ``typed`` has
    argument types."""
    parameters: dict[str, Any] = {"at": at, "typed": typed}
    query = _ALL_TOOLS if ids is None else _TOOLS_OF
    tools: dict[str, dict[str, Tool]] = {}
    for row in await session.execute(
        query, parameters if ids is None else parameters | {"servers": [str(id) for id in ids]}
    ):
        tools.setdefault(row.server_id, {})[row.name] = _tool(row)
    return {
        row.object_id: Server(
            id=row.object_id,
            version=row.version,
            slug=row.content["slug"],
            enabled=row.content["status"] == "active",
            labels=row.content["labels"],
            tools=tools.get(str(row.object_id), {}),
        )
        for row in await session.execute(_SERVERS, {"at": at, "ids": None if ids is None else list(ids)})
    }


async def token_at(session: AsyncSession, token_id: UUID, at: datetime) -> Token | None:
    """A token with its ancestors at that time; ``None`` if it had not been issued."""
    chain = list(await session.execute(_CHAIN, {"id": token_id, "at": at}))
    if not chain or any(row.content is None for row in chain):
        return None
    holders, _ = await identities_at(session, {UUID(row.content["identity_id"]) for row in chain}, at)
    token: Token | None = None
    for row in chain:
        identity = holders.get(UUID(row.content["identity_id"]))
        if identity is None:
            return None
        token = Token(
            id=row.id,
            version=row.version,
            identity=identity,
            scope=load_scope(row.content["scope"]),
            expires_at=datetime.fromisoformat(row.content["expires_at"]).timestamp(),
            revoked=row.revoked,
            ip_allow=tuple(ip_network(network) for network in row.content["ip_allow"]),
            parent=token,
        )
    return token


async def _identity_contents(
    session: AsyncSession, ids: Collection[UUID], at: datetime
) -> dict[UUID, tuple[int, Mapping[str, Any]]]:
    if not ids:
        return {}
    rows = await session.execute(_IDENTITIES, {"ids": sorted(ids), "at": at})
    return {row.object_id: (row.version, row.content) for row in rows}


async def _groups(session: AsyncSession, ids: Collection[UUID], at: datetime) -> dict[UUID, list[UUID]]:
    groups: dict[UUID, list[UUID]] = {}
    for row in await session.execute(_MEMBERSHIPS, {"ids": [str(id) for id in ids], "at": at}):
        groups.setdefault(UUID(row.identity_id), []).append(UUID(row.group_id))
    return {id: sorted(found) for id, found in groups.items()}


Principal = tuple[UUID | None, UUID | None]


async def _grants(
    session: AsyncSession, ids: Collection[UUID], groups: Collection[UUID], at: datetime
) -> dict[Principal, list[Grant]]:
    """The grants by their holder, an identity or a group."""
    wanted = {"ids": [str(id) for id in ids], "groups": [str(id) for id in groups], "at": at}
    grants: dict[Principal, list[Grant]] = {}
    for row in await session.execute(_GRANTS, wanted):
        content = row.content
        made_to = (_id(content["identity_id"]), _id(content["group_id"]))
        grants.setdefault(made_to, []).append(make_grant(row.object_id, row.version, content))
    return grants


def _tool(row: Any) -> Tool:
    digest = row.approved_digest
    return Tool(
        row.object_id,
        row.name,
        Risk(row.risk),
        ToolState(row.state),
        None if digest is None else bytes.fromhex(digest),
        parameters={} if row.input_schema is None else argument_types(row.input_schema),
    )


def _id(value: str | None) -> UUID | None:
    return None if value is None else UUID(value)


# Calendars end, and policies use local dates.
_MAX_FUTURE_S = 100 * 365 * 86_400.0

_UNAVAILABLE = "The database cannot serve right now; repeat the request shortly."


@dataclass(frozen=True, slots=True)
class AccessState:
    """Identities and servers at a point in time, with the policy context. ``group_of`` maps a grant to its group."""

    identities: Mapping[UUID, Identity]
    group_of: Mapping[UUID, UUID]
    servers: Mapping[UUID, Server]
    context: PolicyContext


class AccessReader:
    """Reads access data for one point in time: past data, or current data to evaluate now or later.

    ``at`` is in Unix seconds. To read fewer servers, pass ``server_ids``, ``named_by_grants`` for those that a grant of
    the identities names, or ``asked`` for one by its API id or slug. ``typed`` is the name of the tool whose argument
    types are needed. ``pointer`` is the request field of the time. Raises ``Invalid`` for a time too far ahead.
    """

    def __init__(
        self,
        session: AsyncSession,
        snapshot: AccessSnapshot,
        at: datetime | None = None,
        *,
        server_ids: Collection[UUID] | None = None,
        named_by_grants: bool = False,
        asked: str | None = None,
        typed: str | None = None,
        pointer: str = "?at",
    ) -> None:
        now = snapshot.clock.now()
        if at is not None and at.timestamp() > now + _MAX_FUTURE_S:
            raise Invalid.field(pointer, "too_late", "This time is too far in the future.")
        self._session = session
        self._snapshot = snapshot
        self._server_ids = None if server_ids is None else list(server_ids)
        self._named_by_grants = named_by_grants
        self._requested = asked
        self._typed = typed
        self._pointer = pointer
        self._moment = None if at is None or at.timestamp() >= now else at
        self._past: tuple[Mapping[UUID, Server], PolicyContext] | None = None
        self.at = now if at is None else at.timestamp()

    @property
    def is_past(self) -> bool:
        return self._moment is not None

    @property
    def time(self) -> datetime:
        """The point in time, for responses."""
        return datetime.fromtimestamp(self.at, UTC)

    async def of(self, ids: Sequence[UUID]) -> AccessState:
        """Read the state with the existing ones of these identities. Raises ``Unavailable``, and ``Invalid`` for a time
        before the history begins."""
        if self._moment is None:
            try:
                holders, fleet, context = await self._snapshot.holders(ids, self._servers_to_read)
            except StoreUnavailable as error:
                raise Unavailable(_UNAVAILABLE) from error
            servers = fleet.servers
            if self._named_by_grants:
                servers = {server.id: server for server in _servers_of_grants(holders, fleet)}
            return AccessState(holders.identities, holders.group_of, servers, context)
        past = await self._read_past(self._moment)
        identities, group_of = await identities_at(self._session, ids, self._moment)
        return AccessState(identities, group_of, *past)

    async def token(self, token_id: UUID) -> tuple[Token | None, Mapping[UUID, Server], PolicyContext]:
        """A token, without a check of a secret, and the data for its decisions. Raises as ``of`` does."""
        if self._moment is None:
            try:
                token = await self._snapshot.live_token(token_id)
                known, _ = await self._snapshot.fleet()
                fleet, context = await self._snapshot.fleet(fresh=True, only=self._requested_server(known))
            except StoreUnavailable as error:
                raise Unavailable(_UNAVAILABLE) from error
            return token, fleet.servers, context
        past = await self._read_past(self._moment)
        return await token_at(self._session, token_id, self._moment), *past

    async def _servers_to_read(self, holders: Holders, known: Fleet) -> list[UUID] | None:
        if self._named_by_grants:
            return [server.id for server in _servers_of_grants(holders, known)]
        return self._requested_server(known) or self._server_ids

    def _requested_server(self, known: Fleet) -> list[UUID] | None:
        """The id of the requested server, if it is known."""
        server = (
            None if self._requested is None else server_named(known.servers, known.by_slug, self._requested)
        )
        return None if server is None else [server.id]

    async def _read_past(self, at: datetime) -> tuple[Mapping[UUID, Server], PolicyContext]:
        if self._past is not None:
            return self._past
        since: datetime | None = await self._session.scalar(_SINCE)
        if since is None or at < since:
            known = "has no data yet" if since is None else f"begins at {since.isoformat()}"
            detail = f"The history {known}. Use a later time."
            raise Invalid.field(self._pointer, "before_history", detail)
        servers = await servers_at(self._session, at, self._server_ids, self._typed)
        published = [
            PublishedPolicy(row.object_id, row.version, row.content["text"], Mode(row.content["mode"]))
            for row in await self._session.execute(_POLICIES, {"at": at})
        ]
        # In a thread, since a thousand policies take a large part of a second.
        policies = await asyncio.to_thread(evaluator_of, published, self._snapshot.policies.rules)
        self._past = servers, PolicyContext(0, 0, policies)
        return self._past


def server_named(servers: Mapping[UUID, Server], by_slug: Mapping[str, Server], name: str) -> Server | None:
    """Find a server by its API id or its slug."""
    try:
        return servers.get(parse_id(SERVER, name))
    except ValueError:
        return by_slug.get(name)


def _servers_of_grants(holders: Holders, fleet: Fleet) -> Collection[Server]:
    """The servers that grants of the identities select; no others are within reach."""
    selectors = (grant.servers for identity in holders.identities.values() for grant in identity.grants)
    return fleet.directory.named_by(selectors)
