"""Epochs of the log: one system identifier and timeline, within which transaction ids order events.

A promoted standby or a restore hands out old transaction ids again, so it opens the next epoch and records the
last signed checkpoint that it knows.
"""

import asyncpg

# Distinct from the migrations' lock; held for one transaction.
_LOCK = 0x5C09E6A7F

_OPEN = """
INSERT INTO log_epochs (epoch, system_identifier, timeline, last_checkpoint)
SELECT coalesce(max(epoch), 0) + 1, (SELECT system_identifier FROM pg_control_system()),
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
       (SELECT note FROM audit_checkpoints ORDER BY tree_size DESC LIMIT 1)
FROM log_epochs
"""


async def ensure_epoch(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """The open epoch of this system and timeline, opened now when there is none.

    Raises ``asyncpg.PostgresError`` when the database does not take writes.
    """
    epoch = await connection.fetchval("SELECT scopegate_epoch()")
    if epoch is None:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            # Whoever waited for the lock may find it opened.
            if await connection.fetchval("SELECT scopegate_epoch()") is None:
                await connection.execute(_OPEN)
        epoch = await connection.fetchval("SELECT scopegate_epoch()")
    return int(epoch)
