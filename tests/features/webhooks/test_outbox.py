"""A message is written with its change, once for each webhook that receives it, by either driver."""

from uuid import UUID

import asyncpg
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlmodel import col

from app.db.engine import plain_url
from app.db.webhook_events import (
    INSERT_DELIVERIES,
    Message,
    WebhookEvent,
    delivery_arguments,
    enqueue,
    message_url,
)
from app.lib.ids import APPROVAL, IDENTITY, format_id, new_id
from app.models.webhooks import Webhook, WebhookDelivery

Sessions = async_sessionmaker[AsyncSession]


def asked(approval_id: UUID, identity_id: UUID) -> Message:
    ids = {"approval_id": approval_id, "event_id": None, "identity_id": identity_id, "token_id": None}
    return Message(WebhookEvent.APPROVAL_REQUESTED.value, ids)


async def make_webhooks(sessions: Sessions) -> UUID:
    """One that receives approval requests; the others receive other types, are disabled or have ended."""
    wants = Webhook(name="wants", url="https://example.com", events=["approval.requested"])
    disabled = Webhook(
        name="disabled", url="https://example.com", events=["approval.requested"], status="disabled"
    )
    other = Webhook(name="other", url="https://example.com", events=["approval.denied"])
    async with sessions() as session:
        session.add_all([wants, disabled, other])
        await session.commit()
    return wants.id


async def test_a_message_waits_for_each_webhook_that_wants_it_and_holds_ids_alone(sessions: Sessions) -> None:
    webhook_id, approval_id, identity_id = await make_webhooks(sessions), new_id(), new_id()
    async with sessions() as session:
        await enqueue(session, asked(approval_id, identity_id), Message("without.subscriber", {}))
        await session.commit()
        [row] = (await session.execute(select(WebhookDelivery))).scalars()
    assert (row.webhook_id, row.type, row.state) == (webhook_id, "approval.requested", "pending")
    shown = format_id(APPROVAL, approval_id)
    assert row.data == {"approval_id": shown, "identity_id": format_id(IDENTITY, identity_id)}
    assert message_url(row.type, row.data, "https://gate") == f"https://gate/console/approvals/{shown}"


async def test_the_statement_for_asyncpg_writes_ids_that_sort_by_time(
    sessions: Sessions, database_url: str
) -> None:
    await make_webhooks(sessions)
    connection = await asyncpg.connect(plain_url(database_url))
    before = new_id()
    messages = [asked(new_id(), new_id()) for _ in range(3)]
    async with connection.transaction():
        await connection.execute(INSERT_DELIVERIES, *delivery_arguments(messages))
    await connection.close()
    async with sessions() as session:
        ids = list((await session.execute(select(col(WebhookDelivery.id)))).scalars())
    assert len(ids) == 3
    assert all(id.version == 7 and id.variant == before.variant for id in ids)
    # The first 48 bits are milliseconds.
    assert all(0 <= (id.int >> 80) - (before.int >> 80) < 60_000 for id in ids)


async def test_a_message_of_what_was_rolled_back_is_never_told(sessions: Sessions) -> None:
    await make_webhooks(sessions)
    async with sessions() as session:
        await enqueue(session, asked(new_id(), new_id()))
        await session.rollback()
        assert (await session.execute(select(WebhookDelivery))).all() == []
