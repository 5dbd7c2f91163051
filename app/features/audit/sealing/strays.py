"""Events in places that no transaction gives: before the first, or after all that can have been written by now.

They are not in the order of commits as it is read, so nothing that goes along it comes upon them: they would never be
sealed, delivered or missed, and still be shown in lists.
"""

from asyncpg import Connection, Record

from app.crypto.log_check import Entry, Finding, Kind
from app.features.audit.sealing.leaves import LEAF_COLUMNS, leaf_of
from app.features.audit.sealing.verdict import MOST_TOLD

# Each part by the index of the order. Transaction ids begin with 3; what can be seen is below the snapshot's end.
_STRAYS = f"""
WITH present AS (SELECT scopegate_epoch() AS epoch, pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xact)
(SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE epoch < 1 LIMIT $1)
UNION ALL
(SELECT stray.* FROM (SELECT epoch AS opened FROM log_epochs) AS known CROSS JOIN LATERAL
 (SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE epoch = opened AND xact < 1 LIMIT $1) AS stray)
UNION ALL
(SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events
 WHERE epoch = (SELECT epoch FROM present) AND xact >= (SELECT xact FROM present) LIMIT $1)
UNION ALL
(SELECT epoch, xact, seq, {LEAF_COLUMNS} FROM audit_events WHERE epoch > (SELECT epoch FROM present) LIMIT $1)
LIMIT $1
"""  # noqa: S608


async def strays(connection: "Connection[Record]", size: int) -> list[Finding]:
    """What was put in where nothing is sealed, of a log of ``size`` sealed events; some, if there are very many."""
    rows = await connection.fetch(_STRAYS, MOST_TOLD)
    return [
        Finding(Kind.INSERTED, size, size, Entry((row["epoch"], row["xact"], row["seq"]), leaf_of(row)))
        for row in rows
    ]
