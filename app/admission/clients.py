"""Ids for combinations of address, user agent and client, worked out without a look-up.

The row with the readable parts is written once with the first event of a worker that names it; erasing the row
leaves an id that tells nothing.
"""

import hmac
from collections import OrderedDict
from datetime import datetime, timedelta
from time import monotonic
from uuid import UUID

import asyncpg

from app.admission.rows import STRING_LIMIT, ClientRow
from app.crypto.client_ids import client_id, salt_of
from app.db.engine import plain_url

REMEMBERED = 10_000
REMEMBERED_S = 12 * 3600.0
"""Less than the trail is kept for."""


class Clients:
    """Ids of clients, remembering which rows this worker has written. The key is for their salts."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        # With when each row was written, or found to be there.
        self._seen: OrderedDict[tuple[str | None, ...], tuple[UUID, float]] = OrderedDict()

    def name(
        self, ip: str | None, user_agent: str | None, name: str | None, version: str | None
    ) -> tuple[UUID, ClientRow | None]:
        """The id, and the row to write along when this worker has not written it yet."""
        # Nearly all are short and plain, and known as they are.
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
        """Remember that the row is in the database. Its parts are cut, so a stranger's long ones are not kept."""
        self._seen[row[1:5]] = row[0], monotonic()
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def forget(self) -> None:
        """Write every row again: the database was restored."""
        self._seen.clear()

    def _known(self, parts: tuple[str | None, ...]) -> UUID | None:
        """The id of one whose row is there: what no event has named for long may have been forgotten since."""
        found = self._seen.get(parts)
        return None if found is None or monotonic() - found[1] > REMEMBERED_S else found[0]


def clean(text: str | None) -> str | None:
    """A string that PostgreSQL takes, at most 256 bytes; a longer one ends in a digest of the whole."""
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
# The trail is read before the first row is deleted: an admission that names one would wait for the end.
_FORGET = """
WITH unnamed AS MATERIALIZED (
    SELECT id FROM unnest($1::uuid[]) AS old(id)
    WHERE NOT EXISTS (SELECT FROM audit_events WHERE client_id = old.id)
)
DELETE FROM audit_clients WHERE id IN (SELECT id FROM unnamed)
"""


async def forget_clients(owner_url: str, *, keep: timedelta, now: datetime) -> int:
    """Delete the readable parts of clients that no audit event names any more; how many there were.

    Raises ``asyncpg.PostgresError`` or ``OSError`` when the database cannot do it.
    """
    connection = await asyncpg.connect(plain_url(owner_url), timeout=10)
    try:
        old = [row["id"] for row in await connection.fetch(_OLD, now - keep)]
        if not old:
            return 0
        status = await connection.execute(_FORGET, old)
        return int(status.rpartition(" ")[2])
    finally:
        await connection.close()
