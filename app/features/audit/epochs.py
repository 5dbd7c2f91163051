"""Epochs of the audit log: transaction ids order events only within one system and timeline.

A promoted standby or a restored copy assigns old transaction ids again, so it opens the next epoch before it records
anything. ``scopegate_epoch()`` is NULL until then, and no event can be written. Only the newest epoch is current: a
database that is moved back to its first system opens a new one too.
"""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.db.connection import Connection
from app.lib.ids import new_id

ACCEPT = "audit.accept_restore"
_LOCK = 0x5C09E0E90C
_OPEN = """
INSERT INTO log_epochs (epoch, system_identifier, timeline, last_checkpoint)
SELECT coalesce((SELECT max(epoch) FROM log_epochs), 0) + 1,
       (SELECT system_identifier FROM pg_control_system()),
       ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int,
       (SELECT note FROM audit_checkpoints ORDER BY tree_size DESC LIMIT 1)
"""
# A copy of a data directory has the system and timeline of the original. A dump of one that is restored into the other
# brings events of the same epoch with transaction ids that are not assigned yet here.
_CURRENT = """
SELECT epoch FROM (SELECT scopegate_epoch() AS epoch) AS newest
WHERE NOT EXISTS (
    SELECT FROM audit_events e
    WHERE e.epoch = newest.epoch AND e.xact >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint
)
"""


async def ensure_epoch(connection: Connection) -> int:
    """Return the epoch of this system and timeline, or open the next one with the last signed checkpoint."""
    # mutation: epoch_read
    epoch: int | None = await connection.fetchval(_CURRENT)
    if epoch is not None:
        return epoch
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # Another worker may have opened it while this one waited; this statement sees that commit.
        if await connection.fetchval(_CURRENT) is None:
            await connection.execute(_OPEN)
        opened: int = await connection.fetchval("SELECT scopegate_epoch()")
    return opened


_ACCEPT = "INSERT INTO accepted_restores (id, epoch) VALUES ($1, $2)"
_RECORD = """
INSERT INTO audit_events (id, action, actor_type, actor_id, object_type, outcome, changes)
VALUES ($1, $2, 'system', $3, $4, 'success', $5::jsonb)
"""
_SYSTEM = UUID(int=0)


async def record_by_system(
    connection: Connection, action: str, object_type: str, changes: Mapping[str, Any]
) -> None:
    """Record what a command did to the log itself. A database that was just moved has no epoch: one is opened."""
    await ensure_epoch(connection)
    await connection.execute(_RECORD, new_id(), action, _SYSTEM, object_type, json.dumps(changes))


async def accept_restore(connection: Connection) -> tuple[int, int]:
    """Confirm for the workers that the database was restored to an older state, and record that.

    Opens the next epoch, so that lost events after that state stay ordered before all new ones. Returns the epoch and
    the number of sealed events.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_OPEN)
        epoch: int = await connection.fetchval("SELECT scopegate_epoch()")
        size: int = await connection.fetchval("SELECT coalesce(max(tree_size), 0) FROM audit_checkpoints")
        await connection.execute(_ACCEPT, new_id(), epoch)
        await record_by_system(connection, ACCEPT, "audit_log", {"epoch": epoch, "tree_size": size})
    return epoch, size
