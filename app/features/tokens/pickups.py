"""Links for picking up a secret, made and taken back by whoever issues.

They never see the secret, and neither does whatever carries the link: there is none until the recipient, signed in,
asks for it.

Taking a secret by a pick-up link: once, by the person that it is for. See ADR 21.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Peppers
from app.db.engine import commit
from app.db.outbox import tell
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, pickup_message
from app.domain.errors import Conflict, NotFound
from app.features.audit.record import record
from app.features.tokens import queries
from app.features.tokens import queries as token_queries
from app.features.tokens.own import person_of
from app.features.tokens.queries import PickupReading, TokenReading, end_pickups, find_pickups, lock_pickup
from app.features.tokens.service import add_secret, hold_active, living_token, offer_pickup
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


_NONE = (
    "There is no such pick-up link, or it is for somebody else: sign in as the person that it was sent to."
)


@dataclass(frozen=True, slots=True)
class OwnPickup:
    """A link with the token that it is for."""

    pickup: PickupReading
    token: TokenReading


async def open_pickup(
    session: AsyncSession, caller: Caller, pickup_id: UUID, request_id: str | None
) -> OwnPickup:
    """The link as its recipient sees it. That one was used already when they opened it is told.

    Raises ``NotFound`` for anybody else's, and ``Forbidden`` for whoever is no person.
    """
    found = await _own(session, caller, pickup_id)
    if found.state == "picked_up":
        await _tell_reopened(session, caller, found, request_id)
        found = await _own(session, caller, pickup_id)
    token = await token_queries.find_reading(session, found.row.token_id)
    if token is None:
        raise AssertionError("a link's token is never deleted")
    return OwnPickup(found, token)


async def take_pickup(
    session: AsyncSession,
    peppers: Peppers,
    caller: Caller,
    pickup_id: UUID,
    if_match: Precondition,
    request_id: str | None,
) -> tuple[UUID, str]:
    """Take the secret that the link is for: the token's id, and the secret, which is kept nowhere.

    Of several who try at once one has it. Raises what ``open_pickup`` does, ``PreconditionFailed``, and ``Conflict``
    for a link that is over, for a token that is, and when the token's identity or its owner is not active.
    """
    found = await _own(session, caller, pickup_id)
    token_id = found.row.token_id
    await hold_active(session, found.identity_id, ())
    await token_queries.lock_token(session, token_id)
    found = await queries.lock_pickup(session, pickup_id)
    if found.state == "picked_up":
        await _tell_reopened(session, caller, found, request_id)
        # Nothing else was done, and this stays though the request is refused.
        await commit(session)
        raise Conflict(
            f"This link was used on {found.row.picked_up_at:%Y-%m-%d at %H:%M:%S} UTC. If that was not you, tell your "
            "administrator at once; if it was and the secret is lost, ask for another link.",
            code="pickup_already_used",
        )
    if_match.check(found.row.revision)
    if found.state != "pending":
        raise Conflict(
            f"This link is {found.state}: ask your administrator for another.", code="pickup_ended"
        )
    token = (await living_token(session, token_id)).row
    until = await token_queries.database_now(session) + timedelta(seconds=found.row.overlap_s)
    secret = await add_secret(session, peppers, token, until)
    found.row.state = "picked_up"
    found.row.picked_up_at = func.clock_timestamp()  # type: ignore[assignment]
    found.row.revision += 1
    await session.flush()
    changes = {"overlap_until": until.isoformat()} if found.row.overlap_s else {}
    await _tell(session, caller, found, "token.pick_up", WebhookEvent.TOKEN_PICKED_UP, request_id, changes)
    await move_versions(session, [token_id], narrows=True)
    return token_id, secret


async def _own(session: AsyncSession, caller: Caller, pickup_id: UUID) -> PickupReading:
    found = await queries.find_own_pickup(session, person_of(caller), pickup_id)
    if found is None:
        raise NotFound(_NONE)
    return found


async def _tell_reopened(
    session: AsyncSession, caller: Caller, found: PickupReading, request_id: str | None
) -> None:
    if await queries.note_reopened(session, found.row.id):
        type = WebhookEvent.TOKEN_PICKUP_REOPENED
        await _tell(
            session, caller, found, "token.pickup_refused", type, request_id, {"because": "picked_up"}
        )


async def _tell(
    session: AsyncSession,
    caller: Caller,
    found: PickupReading,
    action: str,
    type: WebhookEvent,
    request_id: str | None,
    changes: dict[str, Any],
) -> None:
    """The event and the message of what its recipient did with a link."""
    row = found.row
    refused = type is WebhookEvent.TOKEN_PICKUP_REOPENED
    event_id = await record(
        session, caller, action, "token", row.token_id,
        changes={"pickup_id": format_id(PICKUP, row.id)} | changes, request_id=request_id,
        outcome="denied" if refused else "success", token_id=row.token_id,
    )  # fmt: skip
    message = pickup_message(
        type, row.id, event_id,
        token_id=row.token_id, identity_id=found.identity_id, recipient_id=row.recipient_id,
    )  # fmt: skip
    await tell(session, message)
