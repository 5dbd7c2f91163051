"""Addresses and programs of callers, held against the ids that sealed events name them by."""

from collections.abc import Sequence
from uuid import UUID

from asyncpg import Connection, Record

from app.crypto.client_ids import is_client
from app.crypto.log_check import Entry
from app.features.audit.sealing.leaves import LEAF_COLUMNS, leaf_of
from app.features.audit.sealing.tiles import LogFault, position_of
from app.features.audit.sealing.verdict import MOST_TOLD, Fault, Verdict
from app.lib.ids import EVENT, format_id

CLIENT = "client"
"""Address, user agent or program of a caller is not what events were sealed with."""
_AT_ONCE = 4_096
_ROWS = """
SELECT id, salt, ip, user_agent, name, version FROM audit_clients WHERE id > $1 ORDER BY id LIMIT $2
"""
_NAMED = f"""
SELECT DISTINCT ON (client_id) client_id, id, epoch, xact, seq, count(*) OVER (PARTITION BY client_id) AS events,
    {LEAF_COLUMNS}
FROM audit_events WHERE client_id = ANY($1) ORDER BY client_id, epoch, xact, seq
"""  # noqa: S608
_ERASED = """
SELECT count(*) FROM (SELECT DISTINCT client_id FROM audit_events WHERE client_id IS NOT NULL) AS named
WHERE NOT EXISTS (SELECT FROM audit_clients WHERE id = client_id)
"""


async def check_origins(connection: "Connection[Record]", verdict: Verdict, keys: Sequence[bytes]) -> None:
    """Say which rows are not what events were sealed with, and how many rows are gone. ``keys`` are for rows of older
    code."""
    altered = await _altered(connection, keys)
    told = list(altered)[:MOST_TOLD]
    rows = await connection.fetch(_NAMED, told)
    for row in rows:
        verdict.add(await _fault(connection, row, is_salted=altered[row["client_id"]]))
    if unnamed := len(told) - len(rows):
        verdict.notes.append(f"{unnamed} altered rows of audit_clients are named by no event")
    if more := len(altered) - len(told):
        verdict.notes.append(f"{more} more rows of audit_clients were altered")
    if erased := await connection.fetchval(_ERASED):
        verdict.notes.append(f"addresses and programs of {erased} clients that events name were erased")


async def _altered(connection: "Connection[Record]", keys: Sequence[bytes]) -> dict[UUID, bool]:
    """The ids of rows that were altered, and whether each has a salt."""
    found: dict[UUID, bool] = {}
    after = UUID(int=0)
    while rows := await connection.fetch(_ROWS, after, _AT_ONCE):
        found |= {
            id: salt is not None
            for id, salt, ip, user_agent, name, version in rows
            if not is_client(id, salt, (ip, user_agent, name, version), keys)
        }
        after = rows[-1]["id"]
    return found


async def _fault(connection: "Connection[Record]", row: Record, *, is_salted: bool) -> Fault:
    place, leaf = (row["epoch"], row["xact"], row["seq"]), leaf_of(row)
    try:
        sealed = await position_of(connection, place, leaf)
    except LogFault:
        sealed = None
    position = 0 if sealed is None else sealed[0]
    event, time = format_id(EVENT, row["id"]), Entry(place, leaf).told("time")
    words = f"the caller's address or program was altered after {event} was recorded (events with it: {row['events']})"
    if not is_salted:
        words += ", or the pepper that this row was made with is not in SCOPEGATE_TOKEN_PEPPER"
    return Fault(CLIENT, position, position + 1, words, event, time)
