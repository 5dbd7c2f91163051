"""Rotation: a new secret for the same token, the older ones ending after an overlap."""

from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Peppers
from app.db.outbox import tell
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, token_message
from app.features.audit.record import record
from app.features.tokens import queries
from app.features.tokens.issue import new_secret
from app.features.tokens.narrow import living_token
from app.features.tokens.pickup_queries import end_pickups
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.http.runtime import Runtime
from app.models.tokens import Token


async def rotate_token(
    session: AsyncSession,
    runtime: Runtime,
    caller: Caller,
    token_id: UUID,
    overlap: timedelta,
    if_match: Precondition,
    request_id: str | None,
) -> str:
    """Add a secret and return its text; those before it work until now + ``overlap``, or earlier if already set.

    Raises ``NotFound``, ``PreconditionFailed`` and, for a token that has ended, ``Conflict``.
    """
    await queries.lock_token(session, token_id)
    row = (await living_token(session, token_id)).row
    if_match.check(row.revision)
    until = await queries.database_now(session) + overlap
    secret = await add_secret(session, runtime.peppers, row, until)
    # Whoever should have picked one up would end this one with it.
    await end_pickups(session, [token_id])
    event_id = await record(
        session, caller, "token.rotate", "token", token_id,
        changes={"overlap_until": until.isoformat()}, request_id=request_id, token_id=token_id,
    )  # fmt: skip
    await tell(session, token_message(WebhookEvent.TOKEN_ROTATED, token_id, row.identity_id, event_id))
    await move_versions(session, [token_id], narrows=True)
    return secret


async def add_secret(session: AsyncSession, peppers: Peppers, token: Token, until: datetime) -> str:
    """Give a locked token a new secret and return its text; those before it work until this time at the latest."""
    await queries.end_secrets(session, token.id, until)
    secret, secret_row = new_secret(peppers, token.id)
    session.add(secret_row)
    token.revision += 1
    await session.flush()
    return secret
