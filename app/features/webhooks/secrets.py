"""Signing secrets: generated here, shown once, encrypted for one webhook, and decrypted only for signing."""

import base64
import os
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.crypto.keys import Sealed, Sealer, UnsealingFault
from app.lib.ids import new_id
from app.models.webhooks import WebhookSecret

PREFIX = "whsec_"
_BYTES = 32
MAX_LIVE = 5
"""Secrets that sign the messages of one webhook at most: the newest, and overlapping ones."""
_PAGE = 200


def _place(row_id: UUID, webhook_id: UUID) -> bytes:
    """The associated data that binds an encrypted secret to its webhook."""
    return f"webhook-secret {row_id} {webhook_id}".encode()


def add_secret(session: AsyncSession, sealer: Sealer, webhook_id: UUID) -> str:
    """Create a secret for a webhook. The result is the only plain copy."""
    text = PREFIX + base64.b64encode(os.urandom(_BYTES)).decode("ascii")
    row_id = new_id()
    sealed = sealer.seal(text.encode("ascii"), _place(row_id, webhook_id))
    session.add(WebhookSecret(id=row_id, webhook_id=webhook_id, key_id=sealed.key_id, sealed=sealed.data))
    return text


async def end_secrets(session: AsyncSession, webhook_id: UUID, overlap: timedelta) -> datetime:
    """Limit the validity of all current secrets to the overlap; return their latest end."""
    until: datetime = (await session.execute(select(func.now() + overlap))).scalar_one()
    of_webhook = col(WebhookSecret.webhook_id) == webhook_id
    expiry = func.least(col(WebhookSecret.expires_at), until)
    await session.execute(update(WebhookSecret).where(of_webhook).values(expires_at=expiry))
    # Expired secrets are deleted, since they are of no use.
    await session.execute(
        delete(WebhookSecret).where(of_webhook, col(WebhookSecret.expires_at) <= func.now())
    )
    return until


async def destroy_secrets(session: AsyncSession, webhook_id: UUID) -> None:
    """Delete all secrets of a webhook."""
    await session.execute(delete(WebhookSecret).where(col(WebhookSecret.webhook_id) == webhook_id))


async def live_secrets(session: AsyncSession, webhook_ids: Iterable[UUID]) -> dict[UUID, list[WebhookSecret]]:
    """The current signing secrets of webhooks, newest first, still encrypted."""
    query = (
        select(WebhookSecret)
        .where(
            col(WebhookSecret.webhook_id).in_(set(webhook_ids)),
            or_(col(WebhookSecret.expires_at).is_(None), col(WebhookSecret.expires_at) > func.now()),
        )
        .order_by(col(WebhookSecret.id).desc())
    )
    by_webhook: dict[UUID, list[WebhookSecret]] = {}
    for row in (await session.execute(query)).scalars():
        of_webhook = by_webhook.setdefault(row.webhook_id, [])
        if len(of_webhook) < MAX_LIVE:
            of_webhook.append(row)
    return by_webhook


def open_secrets(sealer: Sealer, rows: Sequence[WebhookSecret]) -> list[str]:
    """Decrypt secrets for signing. Never log the result. Raises ``UnsealingFault``."""
    return [
        sealer.unseal(Sealed(row.key_id, row.sealed), _place(row.id, row.webhook_id)).decode("ascii")
        for row in rows
    ]


async def reseal_secrets(sessions: async_sessionmaker[AsyncSession], sealer: Sealer) -> tuple[int, int]:
    """Reencrypt every secret with the newest key, while the service runs; return how many, and how many no key can
    decrypt.

    As with upstream credentials, a secret is replaced only if it is unchanged since it was read.
    """
    resealed, unopened, after = 0, 0, UUID(int=0)
    while page := await _older(sessions, sealer.current_id, after):
        for row in page:
            after, place = row.id, _place(row.id, row.webhook_id)
            try:
                contents = sealer.unseal(Sealed(row.key_id, row.sealed), place)
            except UnsealingFault:
                unopened += 1
                continue
            resealed += await _replace(sessions, row, sealer.seal(contents, place))
    return resealed, unopened


async def _older(
    sessions: async_sessionmaker[AsyncSession], newest: str, after: UUID
) -> Sequence[WebhookSecret]:
    query = (
        select(WebhookSecret)
        .where(col(WebhookSecret.key_id) != newest, col(WebhookSecret.id) > after)
        .order_by(col(WebhookSecret.id))
        .limit(_PAGE)
    )
    async with sessions() as session:
        return list((await session.execute(query)).scalars())


async def _replace(sessions: async_sessionmaker[AsyncSession], row: WebhookSecret, sealed: Sealed) -> int:
    statement = (
        update(WebhookSecret)
        .where(col(WebhookSecret.id) == row.id, col(WebhookSecret.sealed) == row.sealed)
        .values(key_id=sealed.key_id, sealed=sealed.data)
        .returning(col(WebhookSecret.id))
    )
    async with sessions() as session:
        changed = (await session.execute(statement)).all()
        await session.commit()
    return len(changed)
