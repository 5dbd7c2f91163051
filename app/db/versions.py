"""The versions that access decisions rest on, moved inside the transaction that changes what they stand for.

``NOTIFY`` only makes other workers fresh sooner; correctness rests on the versions alone. It serialises commits,
so only narrowing changes send it, once, at the end of their transaction. See ADR 3.
"""

import json
from collections.abc import Iterable
from typing import cast
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

CHANNEL = "scopegate_narrowed"
_PAYLOAD_LIMIT = 7_000
_NARROWED = "narrowed_ids"


# Versions of one epoch of the log are above all of those before it. What a lost primary handed out and its successor
# never had is not handed out again for other contents, which a worker that remembers the old ones could not tell.
_MOVE = text(
    "INSERT INTO access_versions (id, version) SELECT t.id, e.base + 1 FROM unnest(CAST(:ids AS uuid[])) AS t(id), "
    "(SELECT (coalesce(scopegate_epoch(), 1) - 1)::bigint << 40 AS base) e ORDER BY t.id "
    "ON CONFLICT (id) DO UPDATE SET version = greatest(access_versions.version + 1, excluded.version)"
)


async def move_versions(session: AsyncSession, ids: Iterable[UUID], *, narrows: bool) -> None:
    """Move the versions of these objects (made at 1 where new), in id order so that movers cannot deadlock.

    ``narrows`` says that the change takes something away, so that workers are told at commit.
    """
    unique = sorted(set(ids))
    if not unique:
        return
    await session.execute(_MOVE, {"ids": unique})
    if narrows:
        notify_at_commit(session, unique)


def notify_at_commit(session: AsyncSession, ids: Iterable[UUID]) -> None:
    """Notify workers at the commit that these objects were narrowed."""
    session.info.setdefault(_NARROWED, set()).update(ids)


def discard_narrowed(session: AsyncSession) -> None:
    """Tell nobody of what this transaction narrowed, because it is rolled back."""
    session.info.pop(_NARROWED, None)


async def notify_narrowed(session: AsyncSession) -> None:
    """Send the one notification of this transaction, if it narrowed anything. Called right before commit."""
    ids = cast("set[UUID]", session.info.pop(_NARROWED, set()))
    if not ids:
        return
    payload = json.dumps([id.hex for id in ids], separators=(",", ":"))
    if len(payload) > _PAYLOAD_LIMIT:
        payload = "reload"
    # mutation: narrowing_told
    await session.execute(
        text("SELECT pg_notify(:channel, :payload)"), {"channel": CHANNEL, "payload": payload}
    )
