"""Fills the audit log as calls do: an admission row and an outcome row per call, dozens of calls per commit.

The database generates the rows, because ten million real calls would take most of an hour.
"""

import asyncio

import asyncpg

from bench.messages import TOOLS
from bench.testbed import Testbed

_CALLS_IN_A_COMMIT = 32
REFUSED_OF = 50
"""One in this many calls is refused, and one ends in an error."""
TRACE_ID = "trace-of-one-event"

# Few enough that each has events in a short audit log too.
_PEOPLE = """
CREATE TEMPORARY TABLE people AS
SELECT row_number() OVER (ORDER BY id) - 1 AS number, id AS token_id, identity_id FROM tokens ORDER BY id LIMIT 500;
CREATE UNIQUE INDEX ON people (number);
ANALYZE people;
"""

# DO takes no parameters. Only numbers, ids and fixed names are inserted.
_FILL = """
DO $$
DECLARE
    people_count bigint := (SELECT count(*) FROM people);
    tools text[] := '{tools}';
    begins timestamptz := greatest(date_trunc('month', now(), 'UTC'), now() - interval '30 days');
    step interval := (now() - begins) / {batches};
BEGIN
    FOR batch IN 1..{batches} LOOP
        WITH call AS MATERIALIZED (
            SELECT n, n % {refused_of} = 1 AS refused, people.*, uuidv7() AS id,
                   begins + step * (batch - 1) + step * n / {calls} AS at
            FROM generate_series(1, {calls}) AS n
            JOIN people ON people.number = (batch * {calls}::bigint + n) * 7919 % people_count
        ), written AS (
            INSERT INTO audit_events (id, time, action, decision, reason_code, actor_type, actor_id, token_id,
                                      server_id, tool, method, request_id, trace_id)
            SELECT id, at, 'tool.call', CASE WHEN refused THEN 'deny' ELSE 'allow' END,
                   CASE WHEN refused THEN 'not_granted' ELSE 'granted' END, 'identity', identity_id, token_id,
                   '{server}', tools[1 + n % array_length(tools, 1)], 'tools/call', 'req_' || id,
                   CASE WHEN batch = 1 AND n = 1 THEN '{trace_id}' END
            FROM call ORDER BY n
        )
        INSERT INTO audit_events (id, time, action, outcome, actor_type, call_id, duration_ms)
        SELECT uuidv7(), at, 'tool.result', CASE WHEN n % {refused_of} = 2 THEN 'error' ELSE 'success' END,
               'gateway', id, n
        FROM call WHERE NOT refused ORDER BY n;
        COMMIT;
    END LOOP;
END $$
"""


def fill(testbed: Testbed, events: int) -> None:
    """Add about this many events, from the beginning of the month until now."""
    asyncio.run(_fill(testbed, max(1, events // (2 * _CALLS_IN_A_COMMIT))))


async def _fill(testbed: Testbed, batches: int) -> None:
    connection = await asyncpg.connect(testbed.owner_url)
    try:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(_PEOPLE)
        await connection.execute(
            _FILL.format(
                batches=batches,
                calls=_CALLS_IN_A_COMMIT,
                refused_of=REFUSED_OF,
                server=testbed.seeded.server,
                tools="{" + ",".join(tool["name"] for tool in TOOLS) + "}",
                trace_id=TRACE_ID,
            ),
            timeout=7200,
        )
        await connection.execute("VACUUM ANALYZE", timeout=7200)
    finally:
        await connection.close()
