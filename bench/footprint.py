"""``python -m bench.footprint``: the database cost of recording a call: rows per second, bytes stored, bytes of WAL.

Measures one worker's admission writer on an embedded PostgreSQL, without gateway or HTTP. This is the limit of a
worker's connection for records. Each call has two rows, its admission and its outcome.
"""

import asyncio
from time import monotonic

import asyncpg

from app.admission.rows import Row
from app.admission.writer import AdmissionWriter, make_outcome
from tests import database
from tests.admission.world import call_row, decision, make_world, writer_on

CALLERS = (1, 16, 64, 256)
_SECONDS = 4.0
_SIZES = """
SELECT sum(pg_table_size(relid)) AS heap, sum(pg_indexes_size(relid)) AS indexes
FROM pg_partition_tree('audit_events') WHERE isleaf
"""
_WAL = "SELECT pg_current_wal_lsn()"


async def _caller(writer: AdmissionWriter, rows: "asyncio.Queue[Row]", until: float) -> int:
    done = 0
    while monotonic() < until:
        row = await rows.get()
        assert await writer.write(row)
        writer.write_later(make_outcome(row.id, "success", 12))
        done += 1
    return done


async def _measure(url: str) -> None:
    connection = await asyncpg.connect(url)
    world = await make_world(connection)
    decided = await decision(connection, world, "get_time")
    print("callers    calls/s    heap B/call    indexes B/call    WAL B/call")
    for callers in CALLERS:
        sizes, at = await connection.fetchrow(_SIZES), await connection.fetchval(_WAL)
        async with writer_on(url) as writer:
            rows: asyncio.Queue[Row] = asyncio.Queue(2 * callers)

            async def make(rows: "asyncio.Queue[Row]" = rows) -> None:
                while True:
                    await rows.put(call_row(world, decided, tool="get_time", method="tools/call"))

            making = asyncio.create_task(make())
            began = monotonic()
            counts = await asyncio.gather(*(_caller(writer, rows, began + _SECONDS) for _ in range(callers)))
            took = monotonic() - began
            making.cancel()
        after = await connection.fetchrow(_SIZES)
        assert sizes is not None
        assert after is not None
        wal = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1::pg_lsn)", at)
        calls = sum(counts)
        heap, indexes = (after[name] - sizes[name] for name in ("heap", "indexes"))
        print(
            f"{callers:7}    {calls / took:7.0f}    {heap / calls:11.0f}    {indexes / calls:14.0f}"
            f"    {float(wal) / calls:10.0f}"
        )
    await connection.close()


def main() -> None:
    """Measure and print."""
    database.open_session()
    try:
        with database.temporary_database(fresh=True) as url:
            asyncio.run(_measure(url))
    finally:
        database.close_process()
        database.close_session()


if __name__ == "__main__":
    main()
