"""Versions only increase, and never to one that an earlier epoch can have assigned."""

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.engine import make_engine, make_sessions
from app.db.versions import move_versions
from app.lib.ids import new_id

AN_EPOCH = 1 << 40


async def test_no_version_of_an_epoch_is_one_of_an_earlier_epoch(database_url: str) -> None:
    old, fresh = new_id(), new_id()
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO log_epochs (epoch, system_identifier, timeline) SELECT 1, system_identifier, "
        "(pg_control_checkpoint()).timeline_id FROM pg_control_system() ON CONFLICT DO NOTHING"
    )
    engine = make_engine(database_url, pool_size=1)

    async def moved(session: AsyncSession) -> list[int]:
        await move_versions(session, [old], narrows=False)
        await session.commit()
        return [
            row["version"]
            for row in await connection.fetch("SELECT version FROM access_versions WHERE id = $1", old)
        ]

    async with make_sessions(engine)() as session:
        assert [await moved(session) for _ in range(3)] == [[1], [2], [3]]
        # As after a failover: versions above 3 of the lost primary are unknown here.
        await connection.execute("UPDATE log_epochs SET epoch = 3")
        assert [await moved(session) for _ in range(2)] == [[2 * AN_EPOCH + 1], [2 * AN_EPOCH + 2]]
        await move_versions(session, [fresh], narrows=False)
        await session.commit()
        [found] = await connection.fetch("SELECT version FROM access_versions WHERE id = $1", fresh)
        assert found["version"] == 2 * AN_EPOCH + 1
    await engine.dispose()
    await connection.close()
