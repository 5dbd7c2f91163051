"""The rows of one admission batch, their clients, and the statement that writes what is unchanged.

Each column is sent as one array literal. Encoding lists costs more than the rest of a row, because asyncpg checks of
every element whether it is a list.

A client id is computed from address, user agent and program, not looked up. Each worker writes the row with the
readable parts once, with the first event that names it. Erasing that row leaves an id without meaning.

Requests rejected before a decision are counted in memory and written once a minute, so that a flood of bad credentials
does not fill the disk: one row per token, reason and minute, or per source and minute.
"""

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from time import monotonic
from typing import Any, NamedTuple
from uuid import UUID

from app.crypto.client_ids import client_id, salt_of
from app.crypto.keys import Sealed
from app.db.engine import delete_rows, plain_connection
from app.db.jobs import repeat
from app.lib.ids import id_hex, new_id

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
    is (valid_from, valid_until) of an allow in Unix seconds by the database's clock, as texts.
    """

    id: UUID
    cells: Sequence[str]
    depends_on: Sequence[Dependency] = ()
    span: tuple[str, str] | None = None
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
    name: (kind, encode)
    for kind, encode, names in (
        ("uuid", _uuid, "id actor_id on_behalf_of token_id server_id grant_id approval_id client_id"),
        ("uuid[]", _uuids, "policy_ids observed_policy_ids"),
        ("text", _word, "action actor_type decision reason_code outcome tool method"),
        ("text", _text, "request_id trace_id"),
        ("bytea", _bytes, "arguments_digest definition_digest"),
        ("bigint", str, "policy_version"),
        ("int", str, "event_count"),
    )
    for name in names.split()
}
_ENCODERS: tuple[Encode, ...] = tuple(_TYPES[name][1] for name in Values._fields)
NULL = "NULL"


def cells_of(values: Values) -> list[str]:
    """Encode the values for array literals."""
    return [NULL if value is None else encode(value) for value, encode in zip(values, _ENCODERS, strict=True)]


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
    cells[_ID] = id_hex(id)
    cells[_CLIENT] = id_hex(client_id)
    cells[_DIGEST] = NULL if arguments_digest is None else _bytes(arguments_digest)
    cells[_REQUEST] = NULL if request_id is None else _text(request_id)
    cells[_TRACE] = NULL if trace_id is None else _text(trace_id)
    return cells


def dependencies_of(versions: Sequence[tuple[UUID, int]]) -> list[Dependency]:
    """Encode the dependencies of a decision for array literals."""
    return [(id.hex, str(version)) for id, version in versions]


def _unnest(first: int, kinds: Sequence[str]) -> str:
    return ", ".join(f"${index}::text::{kind}[]" for index, kind in enumerate(kinds, start=first))


_OF_OUTCOME = {
    "id": "result.id",
    "outcome": "result.outcome",
    "action": "'tool.result'",
    "actor_type": "'gateway'",
}


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
           {", ".join(_OF_OUTCOME.get(name, f"NULL::{_TYPES[name][0]}") for name in Values._fields)}
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
        *_columns(
            [
                (id_hex(each.id), id_hex(each.call_id), _word(each.outcome), str(each.duration_ms))
                for each in outcomes
            ],
            4,
        ),
        _array(dependencies),
        _array([NULL if row.span is None else row.span[0] for row in rows]),
        _array([NULL if row.span is None else row.span[1] for row in rows]),
        *_columns([row.cells for row in rows], len(_ENCODERS)),
        *(_columns([_client_cells(client) for client in clients], 6) if clients or arguments else ()),
        *map(
            _array,
            zip(*((id.hex, _word(kept.key_id), _bytes(kept.data)) for id, kept in arguments), strict=True),
        ),
    ]


def statement_for(rows: Sequence[Row], clients: Sequence[ClientRow]) -> str:
    """Select the statement that writes these rows and clients."""
    if any(row.arguments is not None for row in rows):
        return STATEMENT_WITH_ARGUMENTS
    return STATEMENT_WITH_CLIENTS if clients else STATEMENT


def _columns(rows: Sequence[Sequence[str]], width: int) -> Iterable[str | None]:
    return map(_array, zip(*rows, strict=True)) if rows else [None] * width


def _array(cells: Sequence[str]) -> str | None:
    """A column as a PostgreSQL array literal; ``None``, which ``unnest`` pads with NULL, when it has no values."""
    if not cells or (cells[0] == NULL and cells.count(NULL) == len(cells)):
        return None
    return "{" + ",".join(cells) + "}"


def _client_cells(client: ClientRow) -> list[str]:
    id, *texts, salt = client
    return [id.hex, *(NULL if text is None else _text(text) for text in texts), _bytes(salt)]


def _dependency_places(row: Row, places: dict[Dependency, int]) -> str:
    """The dependencies of a row, as an array of places (from 1) among all dependencies of the batch."""
    if not row.depends_on:
        return NULL
    return '"{' + ",".join([str(places.setdefault(pair, len(places) + 1)) for pair in row.depends_on]) + '}"'


MAX_REMEMBERED = 10_000

REMEMBER_FOR_S = 12 * 3600.0
"""Less than the retention of the audit log."""


class Clients:
    """Client ids, with a memory of the rows that this worker has written. ``key`` derives the salts."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # Each client's id and when its row was written.
        self._seen: OrderedDict[tuple[str | None, ...], tuple[UUID, float]] = OrderedDict()

    def name(
        self, ip: str | None, user_agent: str | None, name: str | None, version: str | None
    ) -> tuple[UUID, ClientRow | None]:
        """The id, and the row to write if this worker has not written it yet."""
        # Most values need no cleaning and are found as they are. After a while without events, a row can have been
        # deleted.
        seen = self._seen.get((ip, user_agent, name, version))
        if seen is None or monotonic() - seen[1] > REMEMBER_FOR_S:
            cut = (clean(ip), clean(user_agent), clean(name), clean(version))
            seen = self._seen.get(cut)
            if seen is None or monotonic() - seen[1] > REMEMBER_FOR_S:
                salt = salt_of(self._key, cut)
                id = client_id(salt, cut)
                return id, (id, *cut, salt)
        return seen[0], None

    def written(self, row: ClientRow) -> None:
        """Remember that the row is in the database. Its parts are truncated, so long values take no memory."""
        self._seen[row[1:5]] = row[0], monotonic()
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)

    def forget(self) -> None:
        """Write every row again, as after a restore of the database."""
        self._seen.clear()


def clean(text: str | None) -> str | None:
    """Make a string storable in PostgreSQL in at most 256 bytes; a longer one ends in a digest of the whole."""
    if text is None:
        return None
    if len(text) <= STRING_LIMIT and text.isascii() and "\0" not in text:
        return text
    raw = text.encode("utf-8", "backslashreplace").replace(b"\x00", b"\\x00")
    if len(raw) <= STRING_LIMIT:
        return raw.decode()
    digest = hmac.digest(b"scopegate cut", raw, "sha256").hex()
    return raw[: STRING_LIMIT - 66].decode("utf-8", "ignore") + "~" + digest[:64]


_OLD = "SELECT id FROM audit_clients WHERE first_seen_at < date_trunc('month', $1::timestamptz, 'UTC')"


# The audit log is read before the first row is deleted, since an admission that names the row waits for the commit.
_FORGET = """
WITH unnamed AS MATERIALIZED (
    SELECT id FROM unnest($1::uuid[]) AS old(id)
    WHERE NOT EXISTS (SELECT FROM audit_events WHERE client_id = old.id)
)
DELETE FROM audit_clients WHERE id IN (SELECT id FROM unnamed)
"""


async def forget_clients(owner_url: str, *, keep: timedelta, now: datetime) -> int:
    """Delete the readable parts of clients that no audit event names any more. Returns how many. Raises
    ``DRIVER_FAULTS``."""
    async with plain_connection(owner_url) as connection:
        old = [row["id"] for row in await connection.fetch(_OLD, now - keep)]
    return await delete_rows(owner_url, _FORGET, old) if old else 0


FLUSH_EVERY_S = 60.0

MAX_KINDS = 10_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """The key of a count. Token, identity and owner are ``None`` for an unknown credential."""

    reason_code: str
    client_id: UUID | None
    token_id: UUID | None = None
    identity_id: UUID | None = None
    owner_id: UUID | None = None


class Refusals:
    """Counts refusals and writes them as audit rows."""

    def __init__(self, write: Callable[[Row], None]) -> None:
        self._write = write
        self._counts: Counter[Refusal] = Counter()
        self._clients: dict[UUID, ClientRow] = {}
        self._first: dict[Refusal, str | None] = {}

    def count(self, refusal: Refusal, client: ClientRow | None, request_id: str | None = None) -> None:
        """Count one refusal and keep the request id of the first in each count.

        Beyond ``MAX_KINDS``, different sources are counted together.
        """
        if refusal not in self._counts and len(self._counts) >= MAX_KINDS:
            refusal = Refusal(
                refusal.reason_code, None, refusal.token_id, refusal.identity_id, refusal.owner_id
            )
        self._counts[refusal] += 1
        self._first.setdefault(refusal, request_id)
        if client is not None and refusal.client_id is not None:
            self._clients[client[0]] = client

    def flush(self) -> None:
        """Queue the counts as rows."""
        counts, self._counts = self._counts, Counter()
        clients, self._clients = self._clients, {}
        first, self._first = self._first, {}
        for refusal, count in counts.items():
            values = Values(
                id=new_id(),
                action="token.refused" if refusal.token_id else "credential.refused",
                decision="deny",
                reason_code=refusal.reason_code,
                outcome="denied",
                actor_type="identity" if refusal.identity_id else "anonymous",
                actor_id=refusal.identity_id,
                on_behalf_of=refusal.owner_id,
                token_id=refusal.token_id,
                client_id=refusal.client_id,
                event_count=count,
                request_id=first[refusal],
            )
            self._write(
                Row(
                    values.id,
                    cells_of(values),
                    client=None if refusal.client_id is None else clients.get(refusal.client_id),
                )
            )

    async def run(self) -> None:
        """Flush once a minute until cancelled."""

        async def flush() -> None:
            self.flush()

        await repeat("counting refusals", flush, FLUSH_EVERY_S, is_spread=False)
