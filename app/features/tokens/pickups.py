"""Pickup links: issuers create and cancel them, and their recipients pick up a secret once. See ADR 21.

Issuers never see the secret, and neither does the channel of the link: it is created when the recipient, signed in,
picks it up.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Peppers
from app.db.engine import commit
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, enqueue, pickup_message
from app.domain.errors import Conflict, NotFound
from app.features.audit.record import record
from app.features.tokens import queries
from app.features.tokens.own import person_of
from app.features.tokens.queries import PickupReading, TokenReading, end_pickups, find_pickups, lock_pickup
from app.features.tokens.service import add_secret, lock_active_identity, offer_pickup, read_live_token
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
    """Create a link for an existing token; a pending one is cancelled.

    Raises ``NotFound``, and ``Conflict`` for an ended token or one of an inactive identity.
    """
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound("There is no such token.")
    identity = await lock_active_identity(session, reading.row.identity_id, ())
    await queries.lock_token(session, token_id)
    token = (await read_live_token(session, token_id)).row
    await end_pickups(session, [token_id])
    recipient_id = identity.owner_id or identity.id
    return await offer_pickup(
        session, caller, token, recipient_id, overlap_s=overlap_s, ttl=ttl, request_id=request_id
    )


async def require_pickup(session: AsyncSession, token_id: UUID, pickup_id: UUID) -> PickupReading:
    """Find a link of this token. Raises ``NotFound``."""
    pickup = (await find_pickups(session, [pickup_id])).get(pickup_id)
    if pickup is None or pickup.row.token_id != token_id:
        raise NotFound("The token has no such pickup link.")
    return pickup


async def cancel_pickup(
    session: AsyncSession,
    caller: Caller,
    token_id: UUID,
    pickup_id: UUID,
    if_match: Precondition,
    request_id: str | None,
) -> PickupReading:
    """Cancel a link; an ended one is unchanged.

    Raises ``NotFound``, ``PreconditionFailed``, and ``Conflict`` for a used one, whose secret is revealed.
    """
    await require_pickup(session, token_id, pickup_id)
    await queries.lock_token(session, token_id)
    pickup = await lock_pickup(session, pickup_id)
    if_match.check(pickup.row.revision)
    if pickup.state == "picked_up":
        raise Conflict(
            "This link was used, and the secret is with its recipient: rotate or revoke the token instead.",
            code="pickup_already_used",
        )
    if pickup.row.state != "pending":
        return pickup
    await end_pickups(session, [token_id])
    await record(
        session, caller, "token.pickup_cancel", "token", token_id,
        changes={"pickup_id": format_id(PICKUP, pickup_id)}, request_id=request_id, token_id=token_id,
    )  # fmt: skip
    return (await find_pickups(session, [pickup_id]))[pickup_id]


_NONE = (
    "There is no such pickup link, or it is for another person: sign in as the person that it was sent to."
)


@dataclass(frozen=True, slots=True)
class OwnPickup:
    """A link with its token."""

    pickup: PickupReading
    token: TokenReading


async def open_pickup(
    session: AsyncSession, caller: Caller, pickup_id: UUID, request_id: str | None
) -> OwnPickup:
    """Read a link as its recipient. Opening a used one is audited and reported.

    Raises ``NotFound`` for another person's, and ``Forbidden`` for a caller who is not a person.
    """
    pickup = await _find_own(session, caller, pickup_id)
    if pickup.state == "picked_up":
        await _report_reopening(session, caller, pickup, request_id)
        pickup = await _find_own(session, caller, pickup_id)
    token = await queries.find_reading(session, pickup.row.token_id)
    if token is None:
        raise AssertionError("a link's token is never deleted")
    return OwnPickup(pickup, token)


async def take_pickup(
    session: AsyncSession,
    peppers: Peppers,
    caller: Caller,
    pickup_id: UUID,
    if_match: Precondition,
    request_id: str | None,
) -> tuple[UUID, str]:
    """Pick up the secret of a link: return the token's id, and the secret, which is stored nowhere.

    Of concurrent attempts one succeeds. Raises what ``open_pickup`` does, ``PreconditionFailed``, and ``Conflict`` for
    an ended link or token, and when the token's identity or its owner is not active.
    """
    pickup = await _find_own(session, caller, pickup_id)
    token_id = pickup.row.token_id
    await lock_active_identity(session, pickup.identity_id, ())
    await queries.lock_token(session, token_id)
    pickup = await queries.lock_pickup(session, pickup_id)
    if pickup.state == "picked_up":
        await _report_reopening(session, caller, pickup, request_id)
        # Commit the report of the reopening, which stays although the request is refused.
        await commit(session)
        raise Conflict(
            f"This link was used on {pickup.row.picked_up_at:%Y-%m-%d at %H:%M:%S} UTC. If that was not you, tell your "
            "administrator at once; if it was and the secret is lost, ask for another link.",
            code="pickup_already_used",
        )
    if_match.check(pickup.row.revision)
    if pickup.state != "pending":
        raise Conflict(
            f"This link is {pickup.state}: ask your administrator for another.", code="pickup_ended"
        )
    token = (await read_live_token(session, token_id)).row
    until = await queries.database_now(session) + timedelta(seconds=pickup.row.overlap_s)
    secret = await add_secret(session, peppers, token, until)
    pickup.row.state = "picked_up"
    pickup.row.picked_up_at = func.clock_timestamp()  # type: ignore[assignment]
    pickup.row.revision += 1
    await session.flush()
    changes = {"overlap_until": until.isoformat()} if pickup.row.overlap_s else {}
    await _tell(session, caller, pickup, "token.pick_up", WebhookEvent.TOKEN_PICKED_UP, request_id, changes)
    await move_versions(session, [token_id], narrows=True)
    return token_id, secret


async def _find_own(session: AsyncSession, caller: Caller, pickup_id: UUID) -> PickupReading:
    pickup = await queries.find_own_pickup(session, person_of(caller), pickup_id)
    if pickup is None:
        raise NotFound(_NONE)
    return pickup


async def _report_reopening(
    session: AsyncSession, caller: Caller, pickup: PickupReading, request_id: str | None
) -> None:
    if await queries.record_reopened(session, pickup.row.id):
        type = WebhookEvent.TOKEN_PICKUP_REOPENED
        await _tell(
            session, caller, pickup, "token.pickup_refused", type, request_id, {"because": "picked_up"}
        )


async def _tell(
    session: AsyncSession,
    caller: Caller,
    pickup: PickupReading,
    action: str,
    type: WebhookEvent,
    request_id: str | None,
    changes: dict[str, Any],
) -> None:
    """Record the event and the message of a recipient's use of a link."""
    row = pickup.row
    refused = type is WebhookEvent.TOKEN_PICKUP_REOPENED
    event_id = await record(
        session, caller, action, "token", row.token_id,
        changes={"pickup_id": format_id(PICKUP, row.id)} | changes, request_id=request_id,
        outcome="denied" if refused else "success", token_id=row.token_id,
    )  # fmt: skip
    message = pickup_message(
        type, row.id, event_id,
        token_id=row.token_id, identity_id=pickup.identity_id, recipient_id=row.recipient_id,
    )  # fmt: skip
    await enqueue(session, message)
