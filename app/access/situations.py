"""What an answer about access is worked out from: how things are now, or how they were at a moment."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access import past
from app.access.policy.compiling import evaluator_of
from app.access.reading import Fleet, Holders
from app.access.snapshot import AccessSnapshot, SnapshotUnavailable
from app.domain.access import Surroundings
from app.domain.errors import Invalid, Unavailable
from app.domain.objects import Identity, Server, Token
from app.lib.ids import SERVER, parse_id

# Calendars end, and policies read local days.
_FURTHEST_S = 100 * 365 * 86_400.0
_UNAVAILABLE = "The database cannot serve right now; repeat the request shortly."


@dataclass(frozen=True, slots=True)
class Scene:
    """Identities and servers at a moment, and what decides about them. ``group_of``: by grant, the group that it was
    made to."""

    identities: Mapping[UUID, Identity]
    group_of: Mapping[UUID, UUID]
    servers: Mapping[UUID, Server]
    around: Surroundings


class Scenes:
    """Scenes of one moment: the past, or how things are now, judged at a moment that is now or later.

    ``at`` is in Unix seconds; ``server_ids`` says that these servers are enough, ``named_by_grants`` that those are
    which a grant of the identities names, ``asked`` that this one is, by its id as the API writes it or its slug;
    ``typed`` of which tools, by name, the types of the arguments are wanted. ``pointer`` is where the moment was asked
    for. Raises ``Invalid`` for one that is too far ahead.
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
        if at is not None and at.timestamp() > now + _FURTHEST_S:
            raise Invalid.field(pointer, "too_late", "Of what lies so far ahead, nothing can be told.")
        self._session = session
        self._snapshot = snapshot
        self._server_ids = None if server_ids is None else list(server_ids)
        self._named_by_grants = named_by_grants
        self._asked = asked
        self._typed = typed
        self._pointer = pointer
        self._moment = None if at is None or at.timestamp() >= now else at
        self._past: tuple[Mapping[UUID, Server], Surroundings] | None = None
        self.at = now if at is None else at.timestamp()

    @property
    def is_past(self) -> bool:
        return self._moment is not None

    @property
    def time(self) -> datetime:
        """The moment, as answers say it."""
        return datetime.fromtimestamp(self.at, UTC)

    async def of(self, ids: Sequence[UUID]) -> Scene:
        """The scene with those of these identities that there are. Raises ``Unavailable``, and ``Invalid`` for a
        moment before which nothing is known."""
        if self._moment is None:
            try:
                holders, fleet, around = await self._snapshot.holders(ids, self._looked_at)
            except SnapshotUnavailable as error:
                raise Unavailable(_UNAVAILABLE) from error
            servers = fleet.servers
            if self._named_by_grants:
                servers = {server.id: server for server in _named(holders, fleet)}
            return Scene(holders.identities, holders.group_of, servers, around)
        if self._past is None:
            self._past = await self._read_past(self._moment)
        identities, group_of = await past.identities_at(self._session, ids, self._moment)
        return Scene(identities, group_of, *self._past)

    async def token(self, token_id: UUID) -> tuple[Token | None, Mapping[UUID, Server], Surroundings]:
        """A token, whoever presents it, and what decides about it. Raises as ``of`` does."""
        if self._moment is None:
            try:
                token = await self._snapshot.live_token(token_id)
                known, _ = await self._snapshot.fleet()
                fleet, around = await self._snapshot.fleet(fresh=True, only=self._one_of(known))
            except SnapshotUnavailable as error:
                raise Unavailable(_UNAVAILABLE) from error
            return token, fleet.servers, around
        if self._past is None:
            self._past = await self._read_past(self._moment)
        return await past.token_at(self._session, token_id, self._moment), *self._past

    async def _looked_at(self, holders: Holders, known: Fleet) -> list[UUID] | None:
        if self._named_by_grants:
            return [server.id for server in _named(holders, known)]
        return self._one_of(known) or self._server_ids

    def _one_of(self, known: Fleet) -> list[UUID] | None:
        """The server that is asked about, where it is one that is known."""
        server = None if self._asked is None else server_named(known.servers, known.by_slug, self._asked)
        return None if server is None else [server.id]

    async def _read_past(self, at: datetime) -> tuple[Mapping[UUID, Server], Surroundings]:
        since = await past.known_since(self._session)
        if since is None or at < since:
            known = "nothing yet" if since is None else f"what was from {since.isoformat()} on"
            detail = f"Of the past, {known} is known; ask for a later time."
            raise Invalid.field(self._pointer, "before_history", detail)
        servers = await past.servers_at(self._session, at, self._server_ids, self._typed)
        published = await past.policies_at(self._session, at)
        # Off the loop: a thousand policies take a good part of a second.
        policies = await asyncio.to_thread(evaluator_of, published, self._snapshot.policies.rules)
        return servers, Surroundings(0, 0, policies)


def server_named(servers: Mapping[UUID, Server], by_slug: Mapping[str, Server], name: str) -> Server | None:
    """A server by its id as the API writes it, or by its slug."""
    try:
        return servers.get(parse_id(SERVER, name))
    except ValueError:
        return by_slug.get(name)


def _named(holders: Holders, fleet: Fleet) -> Collection[Server]:
    """The servers that a grant of one of the identities names: nothing else is within reach."""
    selectors = (grant.servers for identity in holders.identities.values() for grant in identity.grants)
    return fleet.directory.named_by(selectors)
