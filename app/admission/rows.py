"""The rows of one admission batch, and the statement that writes those whose dependencies are unchanged.

Each column is sent as one array literal. Encoding lists costs more than the rest of a row, because asyncpg checks of
every element whether it is a list.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from app.crypto.keys import Sealed

STRING_LIMIT = 256

# (id, ip, user agent, client name, client version, salt) of a caller not seen before by this worker.
ClientRow = tuple[UUID, str | None, str | None, str | None, str | None, bytes]


class Values(NamedTuple):
    """Columns of ``audit_events``, each with its PostgreSQL type in ``_TYPES``."""

    id: UUID
    action: str
    actor_type: str
    decision: str | None = None
    reason_code: str | None = None
    outcome: str | None = None
    actor_id: UUID | None = None
    on_behalf_of: UUID | None = None
    token_id: UUID | None = None
    server_id: UUID | None = None
    tool: str | None = None
    grant_id: UUID | None = None
    policy_ids: Sequence[UUID] | None = None
    policy_version: int | None = None
    observed_policy_ids: Sequence[UUID] | None = None
    approval_id: UUID | None = None
    client_id: UUID | None = None
    method: str | None = None
    arguments_digest: bytes | None = None
    definition_digest: bytes | None = None
    event_count: int | None = None
    request_id: str | None = None
    trace_id: str | None = None


Dependency = tuple[str, str]
"""An object id and a version, encoded for array literals: recurring decisions share them."""


@dataclass(slots=True)
class Row:
    """One audit row to write. ``cells`` are its values encoded for array literals (``cells_of``).

    The row is written only if ``depends_on`` (``dependencies_of``) is unchanged; a count has no dependencies. ``span``
    is (valid_from, valid_until) of an allow in Unix seconds by the database's clock.
    """

    id: UUID
    cells: Sequence[str]
    depends_on: Sequence[Dependency] = ()
    span: tuple[float, float] | None = None
    client: ClientRow | None = None
    arguments: Sealed | None = None
    """The arguments of the call, if its server keeps them."""


class Outcome(NamedTuple):
    """The outcome of a call: a separate, unguarded row. Reads ignore one whose call was never written."""

    id: UUID
    call_id: UUID
    outcome: str
    duration_ms: int


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _bytes(value: bytes) -> str:
    return f'"\\\\x{value.hex()}"'


def _uuids(ids: Sequence[UUID]) -> str:
    return '"{' + ",".join([id.hex for id in ids]) + '}"'


Encode = Callable[[Any], str]
_uuid: Encode = attrgetter("hex")
_word: Encode = lru_cache(maxsize=1024)(_text)
"""Cached encoding, for texts that recur in most rows."""

_TYPES: dict[str, tuple[str, Encode]] = {
    "id": ("uuid", _uuid),
    "action": ("text", _word),
    "actor_type": ("text", _word),
    "decision": ("text", _word),
    "reason_code": ("text", _word),
    "outcome": ("text", _word),
    "actor_id": ("uuid", _uuid),
    "on_behalf_of": ("uuid", _uuid),
    "token_id": ("uuid", _uuid),
    "server_id": ("uuid", _uuid),
    "tool": ("text", _word),
    "grant_id": ("uuid", _uuid),
    "policy_ids": ("uuid[]", _uuids),
    "policy_version": ("bigint", str),
    "observed_policy_ids": ("uuid[]", _uuids),
    "approval_id": ("uuid", _uuid),
    "client_id": ("uuid", _uuid),
    "method": ("text", _word),
    "arguments_digest": ("bytea", _bytes),
    "definition_digest": ("bytea", _bytes),
    "event_count": ("int", str),
    "request_id": ("text", _text),
    "trace_id": ("text", _text),
}
_ENCODERS: tuple[Encode, ...] = tuple(_TYPES[name][1] for name in Values._fields)


NULL = "NULL"


def cells_of(values: Values) -> list[str]:
    """Encode the values for array literals."""
    return [_cell(value, encode) for value, encode in zip(values, _ENCODERS, strict=True)]


def _cell(value: Any, encode: Encode) -> str:
    return NULL if value is None else encode(value)


_PLACE = {name: place for place, name in enumerate(Values._fields)}
_ID, _CLIENT, _DIGEST = _PLACE["id"], _PLACE["client_id"], _PLACE["arguments_digest"]
_REQUEST, _TRACE = _PLACE["request_id"], _PLACE["trace_id"]


def cells_for(
    call: Sequence[str],
    id: UUID,
    client_id: UUID,
    arguments_digest: bytes | None,
    request_id: str | None,
    trace_id: str | None,
) -> list[str]:
    """The cells of a call with the same decision as ``call``, with the parts that differ replaced."""
    cells = list(call)
    cells[_ID] = id.hex
    cells[_CLIENT] = client_id.hex
    cells[_DIGEST] = NULL if arguments_digest is None else _bytes(arguments_digest)
    cells[_REQUEST] = NULL if request_id is None else _text(request_id)
    cells[_TRACE] = NULL if trace_id is None else _text(trace_id)
    return cells


def dependencies_of(versions: Sequence[tuple[UUID, int]]) -> list[Dependency]:
    """Encode the dependencies of a decision for array literals."""
    return [(id.hex, str(version)) for id, version in versions]


def _unnest(first: int, kinds: Sequence[str]) -> str:
    return ", ".join(f"${index}::text::{kind}[]" for index, kind in enumerate(kinds, start=first))


def _statement(*, clients: bool, arguments: bool = False) -> str:
    names = ", ".join(Values._fields)
    # ``unnest`` flattens an array of arrays, so array columns are sent as texts.
    kinds = ["text" if kind.endswith("[]") else kind for kind, _ in map(_TYPES.__getitem__, Values._fields)]
    rows = 10
    written = rows + 3 + len(kinds)
    # Column names and types come from the constants above; values travel as parameters.
    client = f"""
client AS (
    INSERT INTO audit_clients (id, ip, user_agent, name, version, salt)
    SELECT * FROM unnest({_unnest(written, ("uuid", "text", "text", "text", "text", "bytea"))})
    ON CONFLICT (id) DO NOTHING
),"""  # noqa: S608
    kept = f""",
kept AS (
    INSERT INTO audit_arguments (call_id, time, key_id, sealed)
    SELECT sealed.* FROM written JOIN (
        SELECT call_id, epoch.at, key_id, sealed
        FROM epoch, unnest({_unnest(written + 6, ("uuid", "text", "bytea"))}) AS of(call_id, key_id, sealed)
    ) AS sealed ON sealed.call_id = written.id
)"""  # noqa: S608
    # mutation: admission_statement
    return f"""
WITH durable AS MATERIALIZED (SELECT set_config('synchronous_commit', 'on', true) AS setting),
epoch AS MATERIALIZED (
    SELECT at, extract(epoch FROM at)::float8 AS seconds, scopegate_epoch() AS number FROM clock_timestamp() AS at
),
moved AS MATERIALIZED (
    SELECT array_agg(dependency.place::int) AS places, bool_or(coalesce(v.version, 0) < dependency.version) AS fell
    FROM unnest({_unnest(4, ("uuid", "bigint"))}) WITH ORDINALITY AS dependency(id, version, place)
    LEFT JOIN access_versions v ON v.id = dependency.id
    WHERE coalesce(v.version, 0) <> dependency.version
),{client if clients else ""}
written AS (
    INSERT INTO audit_events (time, epoch, worker_id, digest_key_id, call_id, duration_ms, {names})
    SELECT epoch.at, epoch.number, $1::uuid,
           CASE WHEN row.arguments_digest IS NULL THEN NULL ELSE $2 END, NULL::uuid, NULL::int,
           {", ".join(f"row.{name}::{_TYPES[name][0]}" for name in Values._fields)}
    FROM epoch, moved, unnest({_unnest(rows, ("text", "float8", "float8", *kinds))})
        AS row(depends_on, valid_from, valid_until, {names})
    WHERE (moved.places IS NULL OR row.depends_on IS NULL OR NOT row.depends_on::int[] && moved.places)
      AND (row.valid_from IS NULL OR (epoch.seconds >= row.valid_from AND epoch.seconds < row.valid_until))
    UNION ALL
    SELECT epoch.at, epoch.number, $1::uuid, NULL, result.call_id, result.duration_ms,
           {", ".join(_outcome_column(name) for name in Values._fields)}
    FROM epoch, unnest({_unnest(6, ("uuid", "uuid", "text", "int"))}) AS result(id, call_id, outcome, duration_ms)
    RETURNING id, xact
){kept if arguments else ""}
SELECT count(*) AS written,
       CASE WHEN count(*) < $3 THEN array_agg(id) END AS ids,
       (SELECT seconds FROM epoch) AS at, (SELECT number FROM epoch) AS epoch, max(xact) AS xact,
       (SELECT fell FROM moved) AS fell,
       (SELECT setting FROM durable) AS durable
FROM written
"""  # noqa: S608


def _outcome_column(name: str) -> str:
    values = {
        "id": "result.id",
        "outcome": "result.outcome",
        "action": "'tool.result'",
        "actor_type": "'gateway'",
    }
    return values.get(name, f"NULL::{_TYPES[name][0]}")


STATEMENT = _statement(clients=False)
STATEMENT_WITH_CLIENTS = _statement(clients=True)
STATEMENT_WITH_ARGUMENTS = _statement(clients=True, arguments=True)
"""For the rare batches with clients or arguments of calls."""


def clients_of(rows: Sequence[Row]) -> list[ClientRow]:
    """The distinct clients of these rows, ordered by id so that two workers that insert them do not deadlock."""
    clients = {row.client[0]: row.client for row in rows if row.client is not None}
    return [clients[id] for id in sorted(clients)]


def arguments_of(
    rows: Sequence[Row],
    outcomes: Sequence[Outcome],
    clients: Sequence[ClientRow],
    worker_id: UUID,
    digest_key_id: str,
) -> list[object]:
    """The arguments of the statement that ``statement_for`` selects for this batch."""
    places: dict[Dependency, int] = {}
    dependencies = [_dependency_places(row, places) for row in rows]
    arguments = [(row.id, row.arguments) for row in rows if row.arguments is not None]
    return [
        worker_id,
        digest_key_id,
        len(rows) + len(outcomes),
        _array([id for id, _ in places]),
        _array([version for _, version in places]),
        *_columns([_outcome_cells(outcome) for outcome in outcomes], 4),
        _array(dependencies),
        _array([NULL if row.span is None else str(row.span[0]) for row in rows]),
        _array([NULL if row.span is None else str(row.span[1]) for row in rows]),
        *_columns([row.cells for row in rows], len(_ENCODERS)),
        *(_columns([_client_cells(client) for client in clients], 6) if clients or arguments else ()),
        *(_columns([_kept_cells(id, sealed) for id, sealed in arguments], 3) if arguments else ()),
    ]


def statement_for(rows: Sequence[Row], clients: Sequence[ClientRow]) -> str:
    """Select the statement that writes these rows and clients."""
    if any(row.arguments is not None for row in rows):
        return STATEMENT_WITH_ARGUMENTS
    return STATEMENT_WITH_CLIENTS if clients else STATEMENT


def _columns(rows: Sequence[Sequence[str]], width: int) -> Iterable[str | None]:
    if not rows:
        return [None] * width
    return map(_array, zip(*rows, strict=True))


def _array(cells: Sequence[str]) -> str | None:
    """A column as a PostgreSQL array literal; ``None``, which ``unnest`` pads with NULL, when it has no values."""
    if not cells or (cells[0] == NULL and all(cell == NULL for cell in cells)):
        return None
    return "{" + ",".join(cells) + "}"


def _outcome_cells(outcome: Outcome) -> tuple[str, str, str, str]:
    return outcome.id.hex, outcome.call_id.hex, _word(outcome.outcome), str(outcome.duration_ms)


def _kept_cells(call_id: UUID, sealed: Sealed) -> tuple[str, str, str]:
    return call_id.hex, _word(sealed.key_id), _bytes(sealed.data)


def _client_cells(client: ClientRow) -> list[str]:
    id, *texts, salt = client
    return [id.hex, *(_cell(text, _text) for text in texts), _bytes(salt)]


def _dependency_places(row: Row, places: dict[Dependency, int]) -> str:
    """The dependencies of a row, as an array of places (from 1) among all dependencies of the batch."""
    if not row.depends_on:
        return NULL
    return '"{' + ",".join([str(places.setdefault(pair, len(places) + 1)) for pair in row.depends_on]) + '}"'
