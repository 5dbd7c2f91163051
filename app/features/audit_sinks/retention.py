"""What retention drops of the trail before a sink was given it."""

import asyncpg

_NOTE = """
UPDATE audit_sinks s SET missed_at = now() WHERE s.ended_at IS NULL AND EXISTS (
    SELECT FROM {} e WHERE e.epoch > s.epoch OR (e.epoch = s.epoch AND (e.xact, e.seq) > (s.xact, s.seq))
)
"""


async def note_missed(connection: "asyncpg.Connection[asyncpg.Record]", partition: str) -> None:
    """Note with every sink that has not been given all of a month that this month is about to be dropped.

    For the owner of the tables. ``partition`` is the name of a table, and not what anybody sent.
    """
    await connection.execute(_NOTE.format(partition))
