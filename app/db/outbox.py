"""The webhook outbox: messages are written in the transaction of the change that they report.

A message becomes one row per subscribed webhook, or none. See ADR 13.
"""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.webhook_events import Message, WebhookEvent

# A UUIDv7 as from ``new_id``, for rows whose number the caller does not know.
NEW_ID = """
CAST(encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
    PLACING substring(int8send(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)) FROM 3)
    FROM 1 FOR 6), 52, 1), 53, 1), 'hex') AS uuid)
"""
INSERT_DELIVERIES = f"""
INSERT INTO webhook_deliveries (id, webhook_id, type, data)
SELECT {NEW_ID}, w.id, m.type, m.data::jsonb
FROM unnest($1::text[], $2::text[]) AS m (type, data)
JOIN webhooks w ON m.type = ANY (w.events) AND w.status = 'active' AND w.ended_at IS NULL
"""  # noqa: S608 - the one value is a constant of ours
"""For asyncpg, with ``delivery_arguments``. Takes no lock."""
INSERT_DELIVERY = f"""
INSERT INTO webhook_deliveries (id, webhook_id, type, data)
SELECT {NEW_ID}, w.id, CAST(:message_type AS text), CAST(:message_data AS jsonb) FROM webhooks w
WHERE CAST(:message_type AS text) = ANY (w.events) AND w.status = 'active' AND w.ended_at IS NULL
"""  # noqa: S608 - the one value is a constant of ours
"""The same for one message with ``delivery_values``, to be part of a larger statement."""

_TELL = text(INSERT_DELIVERIES.replace("::", "\\:\\:").replace("$1", ":types").replace("$2", ":contents"))
_WANTED = text(
    "SELECT EXISTS (SELECT 1 FROM webhooks WHERE :type = ANY (events) AND status = 'active' AND ended_at IS NULL)"
)


def delivery_arguments(messages: Sequence[Message]) -> tuple[list[str], list[str]]:
    """The arguments of ``INSERT_DELIVERIES``."""
    return [message.type for message in messages], [message.data for message in messages]


def delivery_values(message: Message) -> dict[str, str]:
    """The values of ``INSERT_DELIVERY``."""
    return {"message_type": message.type, "message_data": message.data}


async def has_subscribers(session: AsyncSession, type: WebhookEvent) -> bool:
    """Whether any webhook subscribes to this event. Check this before building many messages."""
    return bool(await session.scalar(_WANTED, {"type": type.value}))


async def enqueue(session: AsyncSession, *messages: Message) -> None:
    """Write messages to the outbox in this session's transaction."""
    if messages:
        types, contents = delivery_arguments(messages)
        await session.execute(_TELL, {"types": types, "contents": contents})
