"""Reads the data of decisions, each object together with its version, in one REPEATABLE READ transaction.

If contents came from an older database snapshot than their versions, outdated rights would have a current version
forever. So everything here runs inside ``consistent``.
"""

import json
from collections.abc import AsyncIterator, Collection, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from ipaddress import ip_network
from itertools import groupby
from math import inf
from operator import itemgetter
from typing import Any, TypeVar, cast
from uuid import UUID

from asyncpg import Record

from app.domain.access import FLEET_ID, POLICY_SET_ID
from app.domain.arguments import argument_types
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, Tool, ToolState, Version
from app.domain.risk import Risk
from app.domain.visibility import Directory, make_directory
from app.http.selectors import load_scope, load_server_selector, load_tool_selector
from app.lib.event_loop import in_slices

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Secret:
    """A stored secret of a token. ``expires_at`` is in Unix seconds."""

    pepper_key_id: str
    digest: bytes
    expires_at: float


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """A token with its identities and secrets."""

    token: Token
    secrets: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class Holders:
    """Identities with the sources of their rights, and the group of each grant to a group."""

    identities: Mapping[UUID, Identity]
    group_of: Mapping[UUID, UUID]


@dataclass(frozen=True, slots=True)
class Fleet:
    """All servers with their tools, and the versions that they were read with."""

    version: int
    policy_version: int
    servers: Mapping[UUID, Server]
    by_slug: Mapping[str, Server]
    directory: Directory


@asynccontextmanager
async def consistent(connection: Any) -> AsyncIterator[None]:
    """A read-only transaction in which all statements see the same snapshot."""
    # mutation: read_isolation
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield


_CHAINS = """
WITH RECURSIVE chain AS (
    SELECT t.*, t.id AS asked_for, 0 AS step FROM tokens t WHERE t.id = ANY($1)
    UNION ALL
    SELECT p.*, c.asked_for, c.step + 1 FROM tokens p JOIN chain c ON p.id = c.parent_id
)
SELECT c.asked_for, c.id, c.identity_id, c.scope, c.expires_at, c.revoked_at, c.ip_allow, v.version
FROM chain c JOIN access_versions v ON v.id = c.id ORDER BY c.asked_for, c.step DESC
"""
_SECRETS = "SELECT token_id, pepper_key_id, digest, expires_at FROM token_secrets WHERE token_id = ANY($1)"
_IDENTITIES = """
SELECT i.id, i.status, i.owner_id, i.kind, i.attributes, v.version
FROM identities i JOIN access_versions v ON v.id = i.id
WHERE i.id = ANY(ARRAY(SELECT unnest($1::uuid[]) UNION SELECT owner_id FROM identities WHERE id = ANY($1)))
"""
_GROUPS = """
SELECT m.identity_id, g.id, v.version FROM group_members m
JOIN groups g ON g.id = m.group_id AND g.ended_at IS NULL
JOIN access_versions v ON v.id = g.id WHERE m.identity_id = ANY($1) ORDER BY g.id
"""
_GRANTS = """
SELECT g.id, g.identity_id, g.group_id, g.servers, g.tools, g.resources, g.prompts, g.not_before, g.expires_at,
       v.version
FROM grants g JOIN access_versions v ON v.id = g.id
WHERE g.ended_at IS NULL AND (g.identity_id = ANY($1) OR g.group_id = ANY($2)) ORDER BY g.id
"""


async def read_token(connection: Any, token_id: UUID) -> TokenEntry | None:
    """Read one token; ``None`` when it does not exist. Runs inside ``consistent``."""
    return (await read_tokens(connection, [token_id])).get(token_id)


async def read_tokens(connection: Any, ids: Collection[UUID]) -> dict[UUID, TokenEntry]:
    """Read the existing ones of these tokens. Runs inside ``consistent``."""
    # mutation: tokens_read
    chains = await connection.fetch(_CHAINS, ids)
    # failpoint: between_reads
    # The same queries run for missing tokens, so that the timing does not reveal which ids exist.
    identities = await _read_identities(connection, list({row["identity_id"] for row in chains}))
    secrets = await connection.fetch(_SECRETS, ids)
    return await in_slices(_entries(chains, identities, secrets))


def _entries(
    chains: Sequence[Record], identities: Mapping[UUID, Identity], found: Sequence[Record]
) -> Generator[None, None, dict[UUID, TokenEntry]]:
    """Build the tokens from rows in which ancestors come first."""
    secrets: dict[UUID, list[Secret]] = {}
    for row in found:
        secret = Secret(_intern(row["pepper_key_id"]), row["digest"], _bound(row["expires_at"], inf))
        secrets.setdefault(row["token_id"], []).append(secret)
    entries: dict[UUID, TokenEntry] = {}
    for asked_for, chain in groupby(chains, itemgetter("asked_for")):
        token: Token | None = None
        for row in chain:
            token = Token(
                id=row["id"],
                version=row["version"],
                identity=identities[row["identity_id"]],
                scope=_intern(load_scope(_json(row["scope"]))),
                expires_at=row["expires_at"].timestamp(),
                revoked=row["revoked_at"] is not None,
                ip_allow=tuple(ip_network(network) for network in row["ip_allow"]),
                parent=token,
            )
            yield
        if token is not None and token.id == asked_for:
            entries[asked_for] = TokenEntry(token, tuple(secrets.get(asked_for, ())))
    return entries


_EXISTING = "SELECT id FROM identities WHERE id = ANY($1)"
_GRANTED_TO_GROUPS = "SELECT id, group_id FROM grants WHERE id = ANY($1) AND group_id IS NOT NULL"


async def read_holders(connection: Any, ids: Sequence[UUID]) -> Holders:
    """Read the existing ones of these identities, with or without tokens. Runs inside ``consistent``."""
    existing = [row["id"] for row in await connection.fetch(_EXISTING, ids)]
    identities = await _read_identities(connection, existing)
    grants = list({grant.id for identity in identities.values() for grant in identity.grants})
    group_of = {row["id"]: row["group_id"] for row in await connection.fetch(_GRANTED_TO_GROUPS, grants)}
    return Holders(identities, group_of)


async def _read_identities(connection: Any, ids: Sequence[UUID]) -> dict[UUID, Identity]:
    rows = {row["id"]: row for row in await connection.fetch(_IDENTITIES, ids)}
    groups: dict[UUID, list[Version]] = {}
    for row in await connection.fetch(_GROUPS, list(rows)):
        groups.setdefault(row["identity_id"], []).append((row["id"], row["version"]))
    group_ids = list({group for id in ids for group, _ in groups.get(id, ())})
    grants = await connection.fetch(_GRANTS, ids, group_ids)
    return await in_slices(_identities(ids, rows, groups, grants))


def _identities(
    ids: Sequence[UUID],
    rows: Mapping[UUID, Record],
    groups: Mapping[UUID, Sequence[Version]],
    granted: Sequence[Record],
) -> Generator[None, None, dict[UUID, Identity]]:
    """Build the identities with their owners from rows in the order of ids."""
    grants_to: dict[UUID, list[tuple[int, Grant]]] = {}
    for place, row in enumerate(granted):
        grants_to.setdefault(row["identity_id"] or row["group_id"], []).append(
            (place, _intern(make_grant(row["id"], row["version"], row)))
        )
        yield

    def build(id: UUID, owner: Identity | None, grants: tuple[Grant, ...]) -> Identity:
        row = rows[id]
        return Identity(
            id=id,
            version=row["version"],
            status=IdentityStatus(row["status"]),
            owner=owner,
            groups=tuple(groups.get(id, ())),
            grants=grants,
            kind=_intern(row["kind"]),
            attributes=tuple(sorted(_json(row["attributes"]).items())),
        )

    def owner_of(id: UUID) -> Identity | None:
        owner_id = rows[id]["owner_id"]
        # The owner's grants do not matter, since an agent does not have its owner's rights.
        return None if owner_id is None else build(owner_id, None, ())

    def grants_of(id: UUID) -> tuple[Grant, ...]:
        holders = (id, *(group for group, _ in groups.get(id, ())))
        grants = [grant for holder in holders for grant in grants_to.get(holder, ())]
        return tuple(grant for _, grant in sorted(grants, key=itemgetter(0)))

    identities: dict[UUID, Identity] = {}
    for id in ids:
        identities[id] = _intern(build(id, owner_of(id), grants_of(id)))
        yield
    return identities


def make_grant(id: UUID, version: int, fields: Mapping[str, Any] | Record) -> Grant:
    """Build a grant from a row or from a version of the history, whose times are texts."""
    return Grant(
        id=id,
        version=version,
        servers=load_server_selector(_json(fields["servers"])),
        tools=load_tool_selector(_json(fields["tools"])),
        resources=fields["resources"],
        prompts=fields["prompts"],
        not_before=_bound(fields["not_before"], -inf),
        expires_at=_bound(fields["expires_at"], inf),
    )


_SERVERS = """
SELECT s.id, s.slug, s.status, s.labels, s.keep_arguments, v.version,
       sha256(convert_to(s.approved_instructions, 'UTF8')) AS instructions
FROM servers s JOIN access_versions v ON v.id = s.id
WHERE s.ended_at IS NULL AND {}
"""
_NEXT_SERVERS = _SERVERS.format("s.id > $1 ORDER BY s.id LIMIT $2")
_THESE_SERVERS = _SERVERS.format("s.id = ANY($1)")
SERVERS_AT_ONCE = 2_000
"""Servers per statement, or servers whose tools are read by one statement, so that each stays within its timeout."""
_TOOLS = """
SELECT id, server_id, name, risk, state, approved_digest, input_schema::text AS input_schema
FROM tools
WHERE server_id = ANY($1) AND state <> 'removed' ORDER BY id
"""
_SERVER_VERSIONS = """
SELECT s.id, v.version FROM servers s JOIN access_versions v ON v.id = s.id WHERE s.ended_at IS NULL
"""
_BEFORE_ALL = UUID(int=0)
_SHARED = "SELECT id, version FROM access_versions WHERE id = ANY($1)"


@dataclass(frozen=True, slots=True)
class ReadFleet:
    """The rows of the fleet, its unchanged servers, and those that were not read. ``build`` can take long."""

    version: int
    policy_version: int
    servers: Sequence[Record]
    tools: Sequence[Record]
    unchanged: Mapping[UUID, Server]
    unread: Mapping[UUID, Server]
    same_servers: Fleet | None
    """A fleet of the same version, which has the same servers with the same labels."""

    def build(self) -> Fleet:
        """Build the fleet."""
        if self.same_servers is not None and len(self.unchanged) == len(self.servers):
            return replace(self.same_servers, policy_version=self.policy_version)
        same_servers = None if self.same_servers is None else self.same_servers.directory
        tools = _tools(self.tools)
        servers = dict(self.unread) | {
            row["id"]: self.unchanged.get(row["id"])
            or Server(
                id=row["id"],
                version=row["version"],
                slug=row["slug"],
                enabled=row["status"] == "active",
                labels=_json(row["labels"]),
                tools=tools.get(row["id"], {}),
                instructions=row["instructions"],
                keep_arguments=row["keep_arguments"],
            )
            for row in sorted(self.servers, key=itemgetter("slug"))
        }
        by_slug = {server.slug: server for server in servers.values()}
        return Fleet(
            self.version, self.policy_version, servers, by_slug, make_directory(servers, same_servers)
        )


async def read_fleet(connection: Any, known: Fleet | None, only: Collection[UUID] | None = None) -> ReadFleet:
    """Read the fleet, reusing unchanged servers of ``known``.

    With ``only``, other servers are reused without a check, unless a server was added, relabelled or ended since; then
    all are read. Runs inside ``consistent``.
    """
    shared = {row["id"]: row["version"] for row in await connection.fetch(_SHARED, [FLEET_ID, POLICY_SET_ID])}
    version, policy_version = shared[FLEET_ID], shared[POLICY_SET_ID]
    old: Mapping[UUID, Server] = {} if known is None else known.servers
    is_part = known is not None and known.version == version
    if is_part and only is None:
        # Few of many servers change, and the versions tell which.
        current = await connection.fetch(_SERVER_VERSIONS)
        only = [row["id"] for row in current if not _is_same(row, old)]
    rows = await (connection.fetch(_THESE_SERVERS, only) if is_part else _every_server(connection))
    unchanged = {row["id"]: old[row["id"]] for row in rows if _is_same(row, old)}
    changed = [row["id"] for row in rows if row["id"] not in unchanged]
    tools: list[Record] = []
    for begin in range(0, len(changed), SERVERS_AT_ONCE):
        tools += await connection.fetch(_TOOLS, changed[begin : begin + SERVERS_AT_ONCE])
    same_servers = known if is_part else None
    return ReadFleet(version, policy_version, rows, tools, unchanged, old if is_part else {}, same_servers)


def _is_same(row: Record, known: Mapping[UUID, Server]) -> bool:
    server = known.get(row["id"])
    return server is not None and server.version == row["version"]


async def _every_server(connection: Any) -> list[Record]:
    servers: list[Record] = []
    while True:
        after = servers[-1]["id"] if servers else _BEFORE_ALL
        rows = await connection.fetch(_NEXT_SERVERS, after, SERVERS_AT_ONCE)
        servers += rows
        if len(rows) < SERVERS_AT_ONCE:
            return servers


def _tools(rows: Sequence[Record]) -> dict[UUID, dict[str, Tool]]:
    tools: dict[UUID, dict[str, Tool]] = {}
    for row in rows:
        schema = json.loads(row["input_schema"])
        tools.setdefault(row["server_id"], {})[row["name"]] = Tool(
            row["id"],
            row["name"],
            Risk(row["risk"]),
            ToolState(row["state"]),
            row["approved_digest"],
            schema if '"x-mcp-header"' in row["input_schema"] else None,
            argument_types(schema),
        )
    return tools


@lru_cache(maxsize=4096)
def _cached(value: Any) -> Any:
    return value


def _intern(value: Value) -> Value:
    """The same object for equal values, which saves memory because many tokens share their parts.

    All values are freshly read; an equal object is never an older state.
    """
    return cast("Value", _cached(value))


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _bound(value: datetime | str | None, open_end: float) -> float:
    if value is None:
        return open_end
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).timestamp()
