"""The rows of one admission batch, and the one statement that writes those whose grounds still hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast
from uuid import UUID

# Column of audit_events, its PostgreSQL type; in the order of the arrays after the guard's own columns.
COLUMNS: tuple[tuple[str, str], ...] = (
    ("id", "uuid"),
    ("action", "text"),
    ("decision", "text"),
    ("reason_code", "text"),
    ("outcome", "text"),
    ("actor_type", "text"),
    ("actor_id", "uuid"),
    ("on_behalf_of", "uuid"),
    ("token_id", "uuid"),
    ("server_id", "uuid"),
    ("tool", "text"),
    ("grant_id", "uuid"),
    ("policy_version", "bigint"),
    ("client_id", "uuid"),
    ("call_id", "uuid"),
    ("method", "text"),
    ("arguments_digest", "bytea"),
    ("definition_digest", "bytea"),
    ("duration_ms", "int"),
    ("event_count", "int"),
    ("request_id", "text"),
    ("trace_id", "text"),
)
_NAMES = tuple(name for name, _ in COLUMNS)
STRING_LIMIT = 256


# (id, ip, user agent, client name, client version) of a caller not seen before by this worker.
ClientRow = tuple[UUID, str | None, str | None, str | None, str | None]


@dataclass(slots=True)
class Row:
    """One audit row to be. ``rests_on`` guards it; an unguarded row (an outcome, a count) has none.

    ``span`` is (valid_from, valid_until) in Unix seconds by the database's clock, for an allow.
    """

    values: tuple[object, ...]
    rests_on: Sequence[tuple[UUID, int]] = ()
    span: tuple[float, float] | None = None
    client: ClientRow | None = None

    @property
    def id(self) -> UUID:
        return cast("UUID", self.values[0])


def row_values(**columns: object) -> tuple[object, ...]:
    """The values of a row in the order of ``COLUMNS``; what is not named is NULL."""
    return tuple(map(columns.get, _NAMES))


def _statement() -> str:
    names = ", ".join(name for name, _ in COLUMNS)
    arrays = ", ".join(f"${index}::{kind}[]" for index, (_, kind) in enumerate(COLUMNS, start=4))
    after = 4 + len(COLUMNS)
    # Column names and types come from the constant above; values travel as parameters.
    return f"""
WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true) AS setting),
epoch AS MATERIALIZED (SELECT scopegate_epoch() AS number, clock_timestamp() AS at),
row AS MATERIALIZED (
    SELECT * FROM unnest($1::int[], $2::float8[], $3::float8[], {arrays})
        AS r(place, valid_from, valid_until, {names})
),
moved AS MATERIALIZED (
    SELECT DISTINCT g.place
    FROM unnest(${after}::int[], ${after + 1}::uuid[], ${after + 2}::bigint[]) AS g(place, id, version)
    LEFT JOIN access_versions v ON v.id = g.id
    WHERE coalesce(v.version, 0) <> g.version
),
client AS (
    INSERT INTO audit_clients (id, ip, user_agent, name, version)
    SELECT * FROM unnest(
        ${after + 3}::uuid[], ${after + 4}::text[], ${after + 5}::text[], ${after + 6}::text[], ${after + 7}::text[]
    )
    ON CONFLICT (id) DO NOTHING
),
written AS (
    INSERT INTO audit_events (time, epoch, worker_id, digest_key_id, {names})
    SELECT e.at, e.number, ${after + 8}::uuid, CASE WHEN row.arguments_digest IS NULL THEN NULL ELSE ${after + 9} END,
           {", ".join("row." + name for name, _ in COLUMNS)}
    FROM row, epoch e
    WHERE NOT EXISTS (SELECT FROM moved WHERE moved.place = row.place)
      AND (row.valid_from IS NULL OR (
          extract(epoch FROM e.at)::float8 >= row.valid_from AND extract(epoch FROM e.at)::float8 < row.valid_until))
    ORDER BY row.place
    RETURNING id
)
SELECT (SELECT array_agg(id) FROM written) AS ids,
       (SELECT extract(epoch FROM at)::float8 FROM epoch) AS at,
       (SELECT setting FROM durable) AS durable
"""  # noqa: S608


STATEMENT = _statement()


def arguments_of(batch: Sequence[Row], worker_id: UUID, digest_key_id: str) -> list[object]:
    """The arguments of ``STATEMENT`` for a batch."""
    places = list(range(len(batch)))
    guards = [(place, id, version) for place, row in enumerate(batch) for id, version in row.rests_on]
    clients = {row.client[0]: row.client for row in batch if row.client is not None}.values()
    columns = [list(column) for column in zip(*(row.values for row in batch), strict=True)]
    return [
        places,
        [None if row.span is None else row.span[0] for row in batch],
        [None if row.span is None else row.span[1] for row in batch],
        *columns,
        [guard[0] for guard in guards],
        [guard[1] for guard in guards],
        [guard[2] for guard in guards],
        *([client[index] for client in clients] for index in range(5)),
        worker_id,
        digest_key_id,
    ]
