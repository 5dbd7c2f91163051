"""Expiry notices for tokens and grants: one for each expiry time.

A notice is a row, written in the transaction of its messages, so it is never repeated. It is sent when the configured
lead time remains, but not before two thirds of the lifetime, and never for a lifetime of a day or less, which is
renewed automatically.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import DateTime, Interval, TextClause, Uuid, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.db.jobs import Periodic
from app.db.webhook_events import Message, WebhookEvent, enqueue, has_subscribers
from app.features.tokens.queries import STATUS_SQL

MIN_LIFETIME = timedelta(days=1)
"""A shorter lifetime ends without a notice."""
LOOK_EVERY_S = 300.0
_FIRST_LOOK_S = 4.0
_AT_ONCE = 500
_BEGINNING = (datetime.fromtimestamp(0, UTC), UUID(int=0))

# Locked as for ending or changing them, so that no notice is sent for an ended one; with SKIP LOCKED, so that the order
# of locks does not matter, and another worker takes others.
_NEAR = """
WITH near AS MATERIALIZED (
    SELECT {holder}, o.id, o.expires_at FROM {table} o
    WHERE {end} > now() AND {end} <= now() + :lead AND ({end}, o.id) > (:after, :after_id)
        AND o.expires_at - {begin} > :shortest AND o.expires_at - (o.expires_at - {begin}) / 3 <= now()
        AND o.{ended} IS NULL AND NOT EXISTS (
            SELECT 1 FROM expiry_notices n WHERE n.expires_at = o.expires_at AND n.object_id = o.id
        )
    ORDER BY {end}, o.id LIMIT :most FOR NO KEY UPDATE OF o SKIP LOCKED
), noted AS (
    INSERT INTO expiry_notices (object_id, expires_at)
    {live}
    ON CONFLICT DO NOTHING RETURNING object_id
)
SELECT near.*, noted.object_id IS NOT NULL AS is_new FROM near LEFT JOIN noted ON noted.object_id = near.id
ORDER BY near.expires_at, near.id
"""
# Suspended ones wait: a notice is sent if they are reinstated in time.
_BOUNDS = (
    bindparam("lead", type_=Interval),
    bindparam("shortest", type_=Interval),
    bindparam("after", type_=DateTime(timezone=True)),
    bindparam("after_id", type_=Uuid),
)
_TOKENS = text(
    _NEAR.format(
        table="tokens",
        holder="o.identity_id, CAST(NULL AS uuid) AS group_id",
        begin="o.created_at",
        end="o.expires_at",
        ended="revoked_at",
        live=f"""SELECT near.id, near.expires_at FROM near JOIN tokens ON tokens.id = near.id
        WHERE {STATUS_SQL} = 'active'""",  # noqa: S608 - the only value is a constant
    )
).bindparams(*_BOUNDS)
_GRANTS = text(
    _NEAR.format(
        table="grants",
        holder="o.identity_id, o.group_id",
        begin="greatest(o.created_at, o.not_before)",
        # In the form of the index.
        end="coalesce(o.expires_at, 'infinity')",
        ended="ended_at",
        live="""SELECT near.id, near.expires_at FROM near
        LEFT JOIN identities holder ON holder.id = near.identity_id
        LEFT JOIN identities owner ON owner.id = holder.owner_id
        WHERE coalesce(holder.status, 'active') = 'active' AND coalesce(owner.status, 'active') = 'active'""",
    )
).bindparams(*_BOUNDS)
# No notice is sent after the expiry.
_FORGET = text("""
DELETE FROM expiry_notices WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM expiry_notices WHERE expires_at < now() ORDER BY expires_at LIMIT :most FOR UPDATE SKIP LOCKED
))
""")


class ExpiryNotices(Periodic):
    """The task of one worker for expiry notices."""

    name = "looking for coming expiries"

    def __init__(self, sessions: async_sessionmaker[AsyncSession], lead: timedelta) -> None:
        """Without a lead time, no notices are sent."""
        super().__init__(sessions)
        self._lead = lead
        self.every_s, self.first_s = LOOK_EVERY_S if lead else 0, _FIRST_LOOK_S

    async def round(self) -> int:
        """Send the due notices; return their number."""
        sent = await self._send(WebhookEvent.TOKEN_EXPIRING, "token_id", _TOKENS)
        sent += await self._send(WebhookEvent.GRANT_EXPIRING, "grant_id", _GRANTS)
        async with self._sessions() as session:
            await session.execute(_FORGET, {"most": _AT_ONCE})
            await session.commit()
        return sent

    async def _send(self, type: WebhookEvent, object_id: str, near: TextClause) -> int:
        sent, (after, after_id) = 0, _BEGINNING
        while True:
            async with self._sessions() as session:
                if not await has_subscribers(session, type):
                    # A later subscriber still gets notices of what expires soon.
                    return sent
                values = {"lead": self._lead, "shortest": MIN_LIFETIME, "most": _AT_ONCE}
                rows = (await session.execute(near, values | {"after": after, "after_id": after_id})).all()
                messages = [
                    Message(
                        type.value,
                        {object_id: row.id, "identity_id": row.identity_id, "group_id": row.group_id},
                        {"expires_at": row.expires_at},
                    )
                    for row in rows
                    if row.is_new
                ]
                await enqueue(session, *messages)
                await session.commit()
            sent += len(messages)
            if len(rows) < _AT_ONCE:
                return sent
            after, after_id = rows[-1].expires_at, rows[-1].id
