"""How many event tokens were refused is on record, also where the database was away when it was to be written down."""

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.ssf import push_routes as refusals
from app.adapters.ssf.polling import SYSTEM
from app.adapters.ssf.push_routes import WINDOW_S, RefusedEvents
from app.db.engine import commit
from app.domain.errors import Unavailable
from tests.adapters.ssf.world import World


async def test_what_was_counted_is_written_once_however_often_it_is_tried(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, away = 1000.0, False

    async def committed(session: AsyncSession) -> None:
        if away:
            raise Unavailable("The database is away.")
        await commit(session)

    monkeypatch.setattr(refusals, "commit", committed)
    refused = RefusedEvents(world.sessions, lambda: now)

    async def counts() -> list[int]:
        return [row.event_count for row in await world.recorded("signal.refused")]

    for _ in range(4):
        await refused.note(SYSTEM, world.provider_id, "invalid_key", None)
    await refused.flush()
    assert await counts() == [1]
    now, away = now + WINDOW_S, True
    with pytest.raises(Unavailable):
        await refused.flush()
    away = False
    for _ in range(2):
        await refused.flush()
    assert await counts() == [1, 3]
    assert (refused._ends, dict(refused._counts)) == ({}, {})
