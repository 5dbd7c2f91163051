"""Making a pick-up link. Nothing of a secret is made with it: there is none until the recipient asks for it."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Conflict
from app.features.audit.record import record
from app.features.identities.link_queries import can_sign_in
from app.features.tokens import queries
from app.features.tokens.pickup_queries import PickupReading, find_pickups
from app.http.authorization import Caller
from app.lib.ids import IDENTITY, PICKUP, format_id
from app.models.tokens import Token, TokenPickup


async def offer_pickup(
    session: AsyncSession,
    caller: Caller,
    token: Token,
    recipient_id: UUID,
    *,
    overlap_s: int = 0,
    ttl: timedelta,
    request_id: str | None,
) -> PickupReading:
    """Make a link for a token that is held and has none that waits.

    Raises ``Conflict`` for a recipient who could not sign in to take the secret.
    """
    if not await can_sign_in(session, recipient_id):
        raise Conflict(
            "The person who would take the secret cannot sign in: no account of an active provider is linked to the "
            "identity. Invite the person, set a link, or have the secret revealed to you.",
            code="recipient_cannot_sign_in",
        )
    until = await queries.database_now(session) + ttl
    row = TokenPickup(token_id=token.id, recipient_id=recipient_id, overlap_s=overlap_s, expires_at=until)
    session.add(row)
    await session.flush()
    changes = {
        "pickup_id": format_id(PICKUP, row.id),
        "recipient_id": format_id(IDENTITY, recipient_id),
        "expires_at": min(until, token.expires_at).isoformat(),
    }
    await record(
        session, caller, "token.pickup_create", "token", token.id,
        changes=changes, request_id=request_id, token_id=token.id,
    )  # fmt: skip
    return (await find_pickups(session, [row.id]))[row.id]
