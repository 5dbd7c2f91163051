"""Client ids for combinations of address, user agent and program, and counts of rejected requests.

A client id is computed, not looked up. Each worker writes the row with the readable parts once, with the first event
that names it. Erasing that row leaves an id without meaning.

Requests rejected before a decision are counted in memory and written once a minute, so that a flood of bad credentials
does not fill the disk: one row per token, reason and minute, or per source and minute.
"""

import hmac
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

from app.admission.rows import STRING_LIMIT, ClientRow, Row, Values, cells_of
from app.crypto.client_ids import client_id, salt_of
from app.db.engine import delete_rows, plain_connection
from app.db.jobs import repeat
from app.lib.ids import new_id

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
        # Most values need no cleaning and are found as they are.
        known = self._known((ip, user_agent, name, version))
        if known is not None:
            return known, None
        cut = (clean(ip), clean(user_agent), clean(name), clean(version))
        known = self._known(cut)
        if known is not None:
            return known, None
        salt = salt_of(self._key, cut)
        id = client_id(salt, cut)
        return id, (id, *cut, salt)

    def written(self, row: ClientRow) -> None:
        """Remember that the row is in the database. Its parts are truncated, so long values take no memory."""
        self._seen[row[1:5]] = row[0], monotonic()
        if len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)

    def forget(self) -> None:
        """Write every row again, as after a restore of the database."""
        self._seen.clear()

    def _known(self, parts: tuple[str | None, ...]) -> UUID | None:
        """The id of a client whose row exists. After a while without events the row can have been deleted."""
        seen = self._seen.get(parts)
        return None if seen is None or monotonic() - seen[1] > REMEMBER_FOR_S else seen[0]


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
        await repeat("counting refusals", self._flush, FLUSH_EVERY_S)

    async def _flush(self) -> None:
        self.flush()
