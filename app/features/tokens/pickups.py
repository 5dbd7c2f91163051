"""Links for picking up a secret, made and taken back by whoever issues.

They never see the secret, and neither does whatever carries the link: there is none until the recipient, signed in,
asks for it.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Conflict, NotFound
from app.features.audit.record import record
from app.features.tokens import queries
from app.features.tokens.issue import hold_active
from app.features.tokens.narrow import living_token
from app.features.tokens.offer import offer_pickup
from app.features.tokens.pickup_queries import PickupReading, end_pickups, find_pickups, lock_pickup
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.lib.ids import PICKUP, format_id


async def create_pickup(
    session: AsyncSession,
    caller: Caller,
    token_id: UUID,
    *,
    overlap_s: int,
    ttl: timedelta,
    request_id: str | None,
) -> PickupReading:
    """A new link for a token that is there; one that waits is cancelled.

    Raises ``NotFound``, and ``Conflict`` for a token that has ended or one of somebody who is not active.
    """
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound("There is no such token.")
    identity = await hold_active(session, reading.row.identity_id, ())
    await queries.lock_token(session, token_id)
    token = (await living_token(session, token_id)).row
    await end_pickups(session, [token_id])
    recipient_id = identity.owner_id or identity.id
    return await offer_pickup(
        session, caller, token, recipient_id, overlap_s=overlap_s, ttl=ttl, request_id=request_id
    )


async def require_pickup(session: AsyncSession, token_id: UUID, pickup_id: UUID) -> PickupReading:
    """A link of this token. Raises ``NotFound``."""
    found = (await find_pickups(session, [pickup_id])).get(pickup_id)
    if found is None or found.row.token_id != token_id:
        raise NotFound("The token has no such pick-up link.")
    return found


async def cancel_pickup(
    session: AsyncSession,
    caller: Caller,
    token_id: UUID,
    pickup_id: UUID,
    if_match: Precondition,
    request_id: str | None,
) -> PickupReading:
    """Take a link back; one that is over stays as it is.

    Raises ``NotFound``, ``PreconditionFailed``, and ``Conflict`` for one that was used: its secret is out.
    """
    await require_pickup(session, token_id, pickup_id)
    await queries.lock_token(session, token_id)
    found = await lock_pickup(session, pickup_id)
    if_match.check(found.row.revision)
    if found.state == "picked_up":
        raise Conflict(
            "This link was used, and the secret is with its recipient: rotate or revoke the token instead.",
            code="pickup_already_used",
        )
    if found.row.state != "pending":
        return found
    await end_pickups(session, [token_id])
    await record(
        session, caller, "token.pickup_cancel", "token", token_id,
        changes={"pickup_id": format_id(PICKUP, pickup_id)}, request_id=request_id, token_id=token_id,
    )  # fmt: skip
    return (await find_pickups(session, [pickup_id]))[pickup_id]
