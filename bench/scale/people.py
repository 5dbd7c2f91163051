"""Identities, their groups, grants and tokens."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.crypto.keys import Peppers
from app.domain.token_format import ID_LENGTH, SECRET_BYTES, SECRET_LENGTH, encode_base62
from bench.messages import TOOLS
from bench.scale.fleet import Fleet
from bench.scale.rows import FALSE, NULL, TableRows, document, hyphened, lines, moment, octets, uuid7, uuid7s
from bench.scale.sizes import MEMBERS, Size

_IDENTITIES, _GROUPS, _GRANTS, _TOKENS, _MEMBERS, _SECRETS = 3, 4, 5, 6, 7, 8
_AGENT_OF = 10
"""One in this many identities is an agent, owned by the person before it."""
_OWN_GRANT_OF = 5
_OF_GRANTS = 10
"""One in this many tokens has the full access of its holder."""
_ENDED_OF = 20
"""One in this many tokens is revoked, and one is expired."""
_REVOKED, _EXPIRED = 7, 13
_DAY_S = 86_400.0
_EVERY_TOOL = {"kind": "names", "names": [tool["name"] for tool in TOOLS]}
_ALL_TOOLS = {"kind": "all"}


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant to a group or to an identity."""

    id: str
    at: str
    group: str | None
    identity: str | None
    servers: dict[str, Any]
    tools: dict[str, Any]

    @property
    def beyond_tools(self) -> bool:
        """Whether it includes resources and prompts, which is the default of the API."""
        return bool(self.tools == _ALL_TOOLS)


@dataclass(frozen=True, slots=True)
class People:
    """The people of an organization. Lists contain ids with creation times."""

    size: Size
    fleet: Fleet
    now: float
    identities: list[tuple[str, str]]
    groups: list[tuple[str, str]]
    """The teams, then the groups across teams."""
    grants: list[Grant]
    tokens: list[tuple[str, str]]
    peppers: Peppers = field(repr=False)
    secrets: list[bytes] = field(default_factory=list, repr=False)
    """The secrets of the tokens for the load, in order, filled while the rows are written."""

    def tables(self) -> Iterator[TableRows]:
        """Return the rows to insert, in the order of foreign keys."""
        yield TableRows(
            "identities", ("id", "created_at", "kind", "user_name", "display_name", "email", "owner_id"),
            lines(self._identity_rows()),
        )  # fmt: skip
        yield TableRows("groups", ("id", "created_at", "name"), lines(self._group_rows()))
        yield TableRows(
            "group_members", ("id", "group_id", "identity_id", "created_at"), lines(self._member_rows())
        )
        yield TableRows(
            "grants",
            ("id", "created_at", "identity_id", "group_id", "servers", "tools", "resources", "prompts"),
            lines(self._grant_rows()),
        )
        yield TableRows(
            "tokens",
            (
                "id", "created_at", "identity_id", "name", "scope", "expires_at", "revoked_at", "revoke_reason",
                "revision",
            ),
            lines(self._token_rows()),
        )  # fmt: skip
        yield TableRows(
            "token_secrets", ("id", "token_id", "digest", "pepper_key_id", "created_at"),
            lines(self._secret_rows()),
        )  # fmt: skip
        yield TableRows(
            "token_uses", ("token_id", "last_used_at"),
            (f"{id}\t{moment(self.now - n % 1000 * 600)}" for n, (id, _) in enumerate(self.tokens) if n % 2 == 0),
        )  # fmt: skip
        yield TableRows(
            "object_versions", ("object_id", "version", "kind", "valid_from", "valid_to", "content"),
            lines(self._past()),
        )  # fmt: skip

    def holder(self, token: int) -> int:
        """Return the number of a token's identity."""
        return token % self.size.identities

    def team(self, identity: int) -> int:
        """Return the number of a person's team."""
        return min(identity // MEMBERS, self.size.teams - 1)

    def servers_of(self, identity: int) -> list[int]:
        """Return the servers that a team grants: the one that the load calls, and others."""
        team = self.team(identity)
        return [0, 1 + team * 2 % (self.size.servers - 2), 1 + (team * 2 + 1) % (self.size.servers - 2)]

    def is_live(self, token: int) -> bool:
        """Whether a token is neither revoked nor expired."""
        return token % _ENDED_OF not in (_REVOKED, _EXPIRED)

    def called(self) -> Iterator[int]:
        """Return the numbers of the tokens for the load: live ones, for named servers."""
        left = self.size.called
        for number in range(self.size.tokens):
            if left == 0:
                return
            if self.is_live(number) and number % _OF_GRANTS:
                left -= 1
                yield number

    def ids(self) -> Iterator[str]:
        """Return the ids of all objects that a decision can depend on."""
        yield from (id for id, _ in (*self.identities, *self.groups))
        yield from (grant.id for grant in self.grants)
        yield from (id for id, _ in self.tokens)

    def _identity_rows(self) -> Iterator[tuple[str, ...]]:
        for number, (id, at) in enumerate(self.identities):
            kind, owner = self._kind(number)
            name = f"{kind}{number}"
            shown, mail = f"{kind.title()} {number}", f"{name}@example.com"
            yield id, at, kind, name, shown, mail if owner is None else NULL, NULL if owner is None else owner

    def _kind(self, number: int) -> tuple[str, str | None]:
        """Return the kind of an identity, and the owner of an agent."""
        is_agent = number % _AGENT_OF == _AGENT_OF - 1
        return ("agent", self.identities[number - 1][0]) if is_agent else ("person", None)

    def _group_rows(self) -> Iterator[tuple[str, ...]]:
        for number, (id, at) in enumerate(self.groups):
            name = f"Team {number}" if number < self.size.teams else f"Guild {number - self.size.teams}"
            yield id, at, name

    def _members(self) -> Iterator[tuple[str, str, str, str]]:
        for number, (identity, at) in enumerate(self.identities):
            guild = self.size.teams + number % self.size.teams
            for turn, group in enumerate((self.team(number), guild)):
                id = uuid7(int(self.now * 1000) - 1, (number * 2 + turn) * 64 + _MEMBERS)
                yield id, self.groups[group][0], identity, at

    def _member_rows(self) -> Iterator[tuple[str, ...]]:
        return self._members()

    def _grant_rows(self) -> Iterator[tuple[str, ...]]:
        for grant in self.grants:
            beyond = "t" if grant.beyond_tools else FALSE
            yield (
                grant.id, grant.at, grant.identity or NULL, grant.group or NULL, document(grant.servers),
                document(grant.tools), beyond, beyond,
            )  # fmt: skip

    def scope(self, token: int) -> dict[str, Any]:
        """Return the scope of a token."""
        if token % _OF_GRANTS == 0:
            return {"kind": "grants"}
        ids = [hyphened(self.fleet.servers[server][0]) for server in self.servers_of(self.holder(token))]
        entry = {
            "servers": {"kind": "ids", "ids": ids},
            "tools": _EVERY_TOOL,
            "resources": False,
            "prompts": False,
        }
        return {"kind": "listed", "entries": [entry]}

    def _expires(self, token: int) -> str:
        days = -1 - token % 30 if token % _ENDED_OF == _EXPIRED else 30 + token % 60
        return moment(self.now + days * _DAY_S)

    def _token_rows(self) -> Iterator[tuple[str, ...]]:
        ended = moment(self.now - _DAY_S)
        for number, (id, at) in enumerate(self.tokens):
            holder = self.holder(number)
            over = (ended, "no longer used", "2") if number % _ENDED_OF == _REVOKED else (NULL, NULL, "1")
            scope = document(self.scope(number))
            yield id, at, self.identities[holder][0], f"token {number}", scope, self._expires(number), *over

    def _secret_rows(self) -> Iterator[tuple[str, ...]]:
        called = set(self.called())
        for number, (id, at) in enumerate(self.tokens):
            random = secrets.token_bytes(SECRET_BYTES)
            if number in called:
                self.secrets.append(random)
            secret = encode_base62(int.from_bytes(random), SECRET_LENGTH)
            digest = self.peppers.digest((encode_base62(int(id, 16), ID_LENGTH) + secret).encode())
            row = uuid7(int(self.now * 1000) - 1, number * 64 + _SECRETS)
            yield row, id, octets(digest.hex()), self.peppers.current_id, at

    def _past(self) -> Iterator[tuple[str, ...]]:
        for number, (id, at) in enumerate(self.identities):
            kind, owner = self._kind(number)
            shown = None if owner is None else hyphened(owner)
            content: dict[str, Any] = {"attributes": {}, "kind": kind, "owner_id": shown, "status": "active"}
            yield id, "1", "identity", at, NULL, document(content)
        for id, group, identity, at in self._members():
            content = {"group_id": hyphened(group), "identity_id": hyphened(identity)}
            yield id, "1", "membership", at, NULL, document(content)
        for grant in self.grants:
            yield grant.id, "1", "grant", grant.at, NULL, document(_grant_content(grant))
        ended = moment(self.now - _DAY_S)
        for number, (id, at) in enumerate(self.tokens):
            content = {
                "identity_id": hyphened(self.identities[self.holder(number)][0]),
                "parent_id": None,
                "scope": self.scope(number),
                "expires_at": self._expires(number),
                "ip_allow": [],
            }
            over = ended if number % _ENDED_OF == _REVOKED else NULL
            yield id, "1", "token_scope", at, over, document(content)


def make_people(size: Size, fleet: Fleet, peppers: Peppers, begins: float, now: float) -> People:
    """Make people who joined and got tokens one after another between two times in Unix seconds."""
    identities = uuid7s(size.identities, begins, now, _IDENTITIES)
    groups = uuid7s(2 * size.teams, begins, now, _GROUPS)
    tokens = uuid7s(size.tokens, begins, now, _TOKENS)
    made = People(size, fleet, now, identities, groups, [], tokens, peppers)
    own = range(0, size.identities, _OWN_GRANT_OF)
    places = iter(uuid7s(3 * size.teams + len(own), begins, now, _GRANTS))
    for team in range(size.teams):
        members = team * MEMBERS
        ids = [hyphened(fleet.servers[server][0]) for server in made.servers_of(members)]
        for servers in ({"kind": "ids", "ids": ids}, {"kind": "labels", "labels": {"team": f"team-{team}"}}):
            made.grants.append(Grant(*next(places), groups[team][0], None, servers, _EVERY_TOOL))
        far = {"kind": "ids", "ids": [hyphened(fleet.servers[(team * 7 + 3) % size.servers][0])]}
        made.grants.append(Grant(*next(places), groups[size.teams + team][0], None, far, _ALL_TOOLS))
    for identity in own:
        one = {"kind": "ids", "ids": [hyphened(fleet.servers[identity % size.servers][0])]}
        made.grants.append(
            Grant(*next(places), None, identities[identity][0], one, {"kind": "risk", "risk": ["read"]})
        )
    return made


def _grant_content(grant: Grant) -> dict[str, Any]:
    return {
        "identity_id": None if grant.identity is None else hyphened(grant.identity),
        "group_id": None if grant.group is None else hyphened(grant.group),
        "servers": grant.servers,
        "tools": grant.tools,
        "resources": grant.beyond_tools,
        "prompts": grant.beyond_tools,
        "not_before": None,
        "expires_at": None,
        "reason": None,
    }
