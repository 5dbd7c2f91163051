"""How much many identities reach of many servers: a number for each pair, counted as calls are decided."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.access.situations import Scene, Scenes
from app.domain.objects import Server
from app.domain.reach import Tally, stopped, tally
from app.lib.slices import in_slices

MOST_IDENTITIES = 50
MOST_SERVERS = 20
MOST_DECISIONS = 20_000
"""What one matrix decides at most, shared out evenly among its pairs: one takes some 30 µs, and more with policies."""


@dataclass(frozen=True, slots=True)
class Row:
    """One identity: why nothing at all is within reach, if something keeps it so, and a tally for each server."""

    identity_id: UUID
    stopped: str | None
    tallies: tuple[tuple[UUID, Tally], ...]


async def matrix_of(scenes: Scenes, identity_ids: Sequence[UUID], server_ids: Sequence[UUID]) -> list[Row]:
    """A row for each of the identities that there are, with each of the servers that there are, in the order asked.

    One read, whatever the number of pairs. Raises ``Unavailable``.
    """
    scene = await scenes.of(identity_ids)
    servers = [scene.servers[id] for id in dict.fromkeys(server_ids) if id in scene.servers]
    return await in_slices(_rows(scene, list(dict.fromkeys(identity_ids)), servers, scenes.at))


def _rows(
    scene: Scene, identity_ids: Sequence[UUID], servers: Sequence[Server], at: float
) -> Generator[None, None, list[Row]]:
    most = MOST_DECISIONS // max(1, len(identity_ids) * len(servers))
    rows = []
    for identity_id in identity_ids:
        identity = scene.identities.get(identity_id)
        if identity is None:
            continue
        tallies = []
        for server in servers:
            yield
            found = yield from tally(identity, server, scene.around, at, most=most)
            tallies.append((server.id, found))
        rows.append(Row(identity_id, stopped(identity, at), tuple(tallies)))
    return rows
