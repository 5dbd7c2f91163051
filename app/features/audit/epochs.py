"""Epochs of the log: transaction ids order events only within one system and timeline.

A promoted standby or a restored copy hands out old transaction ids again, so it opens the next epoch before it
records anything. ``scopegate_epoch()`` is NULL until then, and no event can be written.
"""

from asyncpg import Connection, Record

_LOCK = 0x5C09E0E90C
_OPEN = """
INSERT INTO log_epochs (epoch, system_identifier, timeline, last_checkpoint)
SELECT coalesce((SELECT max(epoch) FROM log_epochs), 0) + 1,
       (SELECT system_identifier FROM pg_control_system()),
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
       (SELECT note FROM audit_checkpoints ORDER BY tree_size DESC LIMIT 1)
"""


_CURRENT = "SELECT scopegate_epoch()"


async def ensure_epoch(connection: "Connection[Record]") -> int:
    """The epoch of this system and timeline; the next is opened, with the last signed checkpoint, if there is none."""
    epoch: int | None = await connection.fetchval(_CURRENT)
    if epoch is not None:
        return epoch
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # Whoever held the lock may have opened it; this statement sees what they committed.
        if await connection.fetchval(_CURRENT) is None:
            await connection.execute(_OPEN)
        opened: int = await connection.fetchval(_CURRENT)
    return opened
