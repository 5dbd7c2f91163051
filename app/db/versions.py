"""The versions that access decisions depend on, incremented in the transaction that changes their object.

Correctness depends only on the versions; ``NOTIFY`` makes other workers refresh sooner. It serializes commits, so only
changes that narrow access send it, once, at the end of their transaction. See ADR 3. Another channel notifies of
decided approvals, which shortens waits.
"""

import json
from collections.abc import Collection, Iterable
from typing import cast
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

CHANNEL = "scopegate_narrowed"
_PAYLOAD_LIMIT = 7_000
_NARROWED = "narrowed_ids"
# Versions of one epoch are above all versions of earlier epochs. So a new primary never reuses a version that a lost
# primary assigned to other contents, which a worker could have cached.
_MOVE = text(
    "INSERT INTO access_versions (id, version) SELECT t.id, e.base + 1 FROM unnest(CAST(:ids AS uuid[])) AS t(id), "
    "(SELECT (coalesce(scopegate_epoch(), 1) - 1)::bigint << 40 AS base) e ORDER BY t.id "
    "ON CONFLICT (id) DO UPDATE SET version = greatest(access_versions.version + 1, excluded.version)"
)


async def move_versions(session: AsyncSession, ids: Iterable[UUID], *, narrows: bool) -> None:
    """Increment the versions of these objects (new ones start at 1), in id order so that transactions cannot deadlock.

    ``narrows``: the change takes access away, so workers are notified at commit.
    """
    unique = sorted(set(ids))
    if not unique:
        return
    await session.execute(_MOVE, {"ids": unique})
    if narrows:
        notify_at_commit(session, unique)


def notify_at_commit(session: AsyncSession, ids: Iterable[UUID]) -> None:
    """Have workers notified at commit that these objects were narrowed."""
    session.info.setdefault(_NARROWED, set()).update(ids)


def discard_narrowed(session: AsyncSession) -> None:
    """Discard the pending notification of a transaction that is rolled back."""
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


APPROVALS_CHANNEL = "scopegate_approvals"
"""The payload is the id of one approval as 32 hexadecimal digits. It is sent at commit."""
_NOTIFY_DECIDED = text("SELECT pg_notify(:channel, id) FROM unnest(CAST(:ids AS text[])) AS t(id)")


async def notify_decided(session: AsyncSession, ids: Collection[UUID]) -> None:
    """Notify waiting workers about these approvals when this transaction commits."""
    if ids:
        await session.execute(_NOTIFY_DECIDED, {"channel": APPROVALS_CHANNEL, "ids": [id.hex for id in ids]})
