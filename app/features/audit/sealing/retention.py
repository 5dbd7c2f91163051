"""The end of a month of the trail: not before all of it is sealed, and never without a record of it in the trail."""

import json

from asyncpg import Connection, Record

from app.features.audit.epochs import record_by_system
from app.features.audit.sealing.frontier import TILE
from app.features.audit.sealing.leaves import LEAF_COLUMNS, leaf_of
from app.features.audit.sealing.tiles import LogFault, latest_checkpoint, position_of

DROP = "audit.drop"
_OUTERMOST = (
    "SELECT epoch, xact, seq, {columns} FROM {partition} ORDER BY epoch {way}, xact {way}, seq {way} LIMIT 1"
)
# By a run that was interrupted before the month was gone; what says anything else of it is none of ours.
_ON_RECORD = """
SELECT EXISTS (
    SELECT FROM audit_events
    WHERE action = $1 AND changes = $2::jsonb AND time > clock_timestamp() - interval '31 days'
)
"""
_COUNT = "SELECT count(*) FROM {}"


async def record_drop(connection: "Connection[Record]", partition: str) -> str | None:
    """Record that a month of events is about to be dropped, as its owner: its name, how many events it has, and the
    first and last of their positions, so that whoever verifies the log knows which positions may be without an event.
    A month that is on record already is not recorded twice.

    Where it must not be dropped yet, nothing is recorded, and the answer says why: all of its events have to be sealed,
    in tiles that are full, since the edge of the tree is worked out from events.
    """
    first, last = (
        await _position(connection, partition, "ASC"),
        await _position(connection, partition, "DESC"),
    )
    if isinstance(first, str) or isinstance(last, str):
        return first if isinstance(first, str) else str(last)
    sealed = await latest_checkpoint(connection)
    size = 0 if sealed is None else sealed.size
    if last is not None and last >= size - size % TILE:
        return f"the tree has no full tile yet over its last events; that takes {TILE} events"
    rows = await connection.fetchval(_COUNT.format(partition))
    changes = {"partition": partition, "rows": rows, "lowest_position": first, "highest_position": last}
    if not await connection.fetchval(_ON_RECORD, DROP, json.dumps(changes)):
        await record_by_system(connection, DROP, "audit_month", changes)
    return None


async def _position(connection: "Connection[Record]", partition: str, way: str) -> int | str | None:
    """The position of the first or last event of a month; None where it has none, and in words why it has none yet."""
    query = _OUTERMOST.format(columns=LEAF_COLUMNS, partition=partition, way=way)
    row = await connection.fetchrow(query)
    if row is None:
        return None
    try:
        found = await position_of(connection, (row["epoch"], row["xact"], row["seq"]), leaf_of(row))
    except LogFault as fault:
        return f"it is not as it was sealed: {fault}; scopegate audit verify says more"
    return "not all of its events are sealed" if found is None else found[0]
