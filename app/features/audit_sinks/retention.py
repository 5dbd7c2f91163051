"""Events that retention dropped before a sink received them."""

import asyncpg

_NOTE = """
UPDATE audit_sinks s SET missed_at = now() WHERE s.ended_at IS NULL AND EXISTS (
    SELECT FROM {} e WHERE e.epoch > s.epoch OR (e.epoch = s.epoch AND (e.xact, e.seq) > (s.xact, s.seq))
)
"""


async def record_missed(connection: "asyncpg.Connection[asyncpg.Record]", partition: str) -> None:
    """Record for every sink with undelivered events of a month that this month is about to be dropped.

    For the owner of the tables. ``partition`` is the name of a table, never input.
    """
    await connection.execute(_NOTE.format(partition))
