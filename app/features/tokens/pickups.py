"""Pickup links: issuers create and cancel them, and their recipients pick up a secret once. See ADR 21.

Issuers never see the secret, and neither does the channel of the link: it is created when the recipient, signed in,
picks it up.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.keys import Peppers
from app.db import rows
from app.db.change import Change, Subject, Values
from app.db.engine import commit
from app.db.webhook_events import WebhookEvent
from app.domain.errors import Conflict, NotFound
from app.features.tokens import queries, service
from app.features.tokens.queries import PickupReading, find_pickups, lock_pickup
from app.features.tokens.schemas import OwnPickupView, PickupCreate, PickupQuery, PickupView
from app.features.tokens.service import end_pickups
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.http.pagination import Cursors, Page, read_page
from app.http.runtime import Runtime
from app.lib import ids
from app.lib.ids import format_id
from app.models.tokens import Token, TokenPickup

PICKUP = Subject("token", webhook=("pickup_id", "identity_id", "recipient_id"))
"""Links are recorded as changes of their token."""
# At most once an hour, so that reloading a page fills neither the audit log nor a channel.
_REOPENED = text("""
UPDATE token_pickups SET reopened_at = clock_timestamp()
WHERE id = :id AND (reopened_at IS NULL OR reopened_at < clock_timestamp() - interval '1 hour') RETURNING id
""")


async def list_pickups(
    session: AsyncSession, token_id: UUID, query: PickupQuery, runtime: Runtime
) -> Page[PickupView]:
    """Read a page of the links of a token; at most one is pending. Raises ``NotFound``."""
    await service.show_token(session, token_id)
    filters = query.filters() | {"token_id": token_id}
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_token_pickups", filters)
    links = select(TokenPickup).where(col(TokenPickup.token_id) == token_id)
    return await _read_page(session, links, cursors, query, runtime)


async def list_own_pickups(
    session: AsyncSession, caller: Caller, query: PickupQuery, runtime: Runtime
) -> Page[PickupView]:
    """Read a page of the pending links for the caller. Raises ``Forbidden`` for a caller who is not a person."""
    me = service.person_of(caller)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_own_pickups", query.filters() | {"me": me})
    return await _read_page(session, queries.select_pending_pickups(me), cursors, query, runtime)


async def _read_page(
    session: AsyncSession, statement: Any, cursors: Cursors, query: PickupQuery, runtime: Runtime
) -> Page[PickupView]:
    links, next_cursor = await read_page(session, statement, TokenPickup, cursors, query)
    readings = await find_pickups(session, [link.id for link in links])
    views = [PickupView.from_reading(readings[link.id], runtime.public_url) for link in links]
    return Page(items=views, next_cursor=next_cursor)


async def get_pickup(session: AsyncSession, token_id: UUID, pickup_id: UUID) -> PickupReading:
    """Find a link of this token. Raises ``NotFound``."""
    pickup = (await find_pickups(session, [pickup_id])).get(pickup_id)
    if pickup is None or pickup.row.token_id != token_id:
        raise NotFound("The token has no such pickup link.")
    return pickup


async def create_pickup(
    change: Change, token_id: UUID, body: PickupCreate, runtime: Runtime
) -> PickupReading:
    """Create a link for an existing token; a pending one is cancelled.

    Raises ``NotFound``, and ``Conflict`` for an ended token or one of an inactive identity.
    """
    session = change.session
    identity_id = (await service.show_token(session, token_id)).identity_id
    identity = await service.lock_active_identity(session, identity_id, ())
    await rows.lock(session, Token, token_id)
    token = (await service.read_live_token(session, token_id)).row
    await end_pickups(session, [token_id])
    recipient_id = identity.owner_id or identity.id
    return await service.offer_pickup(
        change, token, recipient_id, runtime.pickup_ttl, overlap_s=body.overlap_s
    )


async def cancel_pickup(
    change: Change, token_id: UUID, pickup_id: UUID, if_match: Precondition
) -> PickupReading:
    """Cancel a link; an ended one is unchanged.

    Raises ``NotFound``, ``PreconditionFailed``, and ``Conflict`` for a used one, whose secret is revealed.
    """
    session = change.session
    await get_pickup(session, token_id, pickup_id)
    await rows.lock(session, Token, token_id)
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
    _record(change, "token.pickup_cancel", pickup, {})
    return (await find_pickups(session, [pickup_id]))[pickup_id]


async def open_pickup(change: Change, pickup_id: UUID, runtime: Runtime) -> OwnPickupView:
    """Read a link as its recipient. Opening a used one is audited and reported.

    Raises ``NotFound`` for another person's, and ``Forbidden`` for a caller who is not a person.
    """
    me = service.person_of(change.caller)
    pickup = await queries.find_own_pickup(change.session, me, pickup_id)
    if pickup.state == "picked_up":
        await _report_reopening(change, pickup)
        pickup = await queries.find_own_pickup(change.session, me, pickup_id)
    return OwnPickupView(
        pickup=PickupView.from_reading(pickup, runtime.public_url),
        token=await service.show_token(change.session, pickup.row.token_id),
    )


async def take_pickup(
    change: Change, pickup_id: UUID, if_match: Precondition, peppers: Peppers
) -> tuple[UUID, str]:
    """Pick up the secret of a link: return the token's id, and the secret, which is stored nowhere.

    Of concurrent attempts one succeeds. Raises what ``open_pickup`` does, ``PreconditionFailed``, and ``Conflict`` for
    an ended link or token, and when the token's identity or its owner is not active.
    """
    session = change.session
    pickup = await queries.find_own_pickup(session, service.person_of(change.caller), pickup_id)
    token_id = pickup.row.token_id
    await service.lock_active_identity(session, pickup.identity_id, ())
    await rows.lock(session, Token, token_id)
    pickup = await lock_pickup(session, pickup_id)
    if pickup.state == "picked_up":
        await _report_reopening(change, pickup)
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
    token = (await service.read_live_token(session, token_id)).row
    secret, until = await service.add_secret(session, peppers, token, pickup.row.overlap_s)
    pickup.row.state = "picked_up"
    pickup.row.picked_up_at = func.clock_timestamp()  # type: ignore[assignment]
    pickup.row.revision += 1
    await session.flush()
    details = {"overlap_until": until} if pickup.row.overlap_s else {}
    _record(change, "token.pick_up", pickup, details, webhook=WebhookEvent.TOKEN_PICKED_UP)
    change.move(narrows=[token_id])
    return token_id, secret


async def _report_reopening(change: Change, pickup: PickupReading) -> None:
    if (await change.session.execute(_REOPENED, {"id": pickup.row.id})).one_or_none() is not None:
        event, details = WebhookEvent.TOKEN_PICKUP_REOPENED, {"because": "picked_up"}
        _record(change, "token.pickup_refused", pickup, details, webhook=event, outcome="denied")


def _record(change: Change, action: str, pickup: PickupReading, details: dict[str, Any], **more: Any) -> None:
    row = pickup.row
    columns = {"pickup_id": row.id, "identity_id": pickup.identity_id, "recipient_id": row.recipient_id}
    details = {"pickup_id": format_id(ids.PICKUP, row.id)} | details
    values = Values(row.token_id, columns)
    change.record(action, PICKUP, values, details=details, token_id=row.token_id, **more)
