"""Revocation: tokens end with everything attenuated from them, in one transaction, at once."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.outbox import is_wanted, tell
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, token_message
from app.features.approvals.cancel import cancel_approvals
from app.features.approvals.queries import open_approvals
from app.features.audit.record import record_each
from app.features.tokens import queries
from app.features.tokens.pickup_queries import end_pickups
from app.http.authorization import Caller
from app.models.approvals import Approval


@dataclass(frozen=True, slots=True)
class Revoked:
    """The tokens that ended (or would), in id order, and how many of their calls were running."""

    tokens: list[UUID]
    in_flight: int


async def revoke_tokens(
    session: AsyncSession,
    caller: Caller,
    roots: Collection[ColumnElement[bool]],
    reason: str,
    *,
    dry_run: bool,
    request_id: str | None,
) -> Revoked:
    """End every living token that meets the conditions, and all below those; with ``dry_run`` only say which."""
    if dry_run:
        ids = await queries.living_family(session, roots)
        return Revoked(ids, await queries.count_in_flight(session, ids))
    ids = await queries.lock_living_family(session, roots)
    in_flight = await queries.count_in_flight(session, ids)
    await end_tokens(session, caller, ids, reason, request_id)
    await move_versions(session, ids, narrows=True)
    return Revoked(ids, in_flight)


async def end_tokens(
    session: AsyncSession, caller: Caller, ids: Collection[UUID], reason: str, request_id: str | None
) -> None:
    """End these locked tokens and the approvals that calls with them asked for, with an event and a message for each.
    The reason, which people word, stays out of both.

    Moving their versions is left to the caller, who moves all of a transaction's at once.
    """
    if not ids:
        return
    await queries.mark_revoked(session, ids, reason)
    await end_pickups(session, ids)
    events = await record_each(
        session, caller, "token.revoke", "token", ids, request_id=request_id, id_column="token_id"
    )
    await _tell(session, events)
    asked_with = queries.among(col(Approval.token_id), ids)
    approvals = await open_approvals(session, asked_with, lock=True)
    await cancel_approvals(session, caller, approvals, "token_revoked", request_id)


async def _tell(session: AsyncSession, events: Mapping[UUID, UUID]) -> None:
    """Tell of each token that ended, given the events of that. Of many as of one: they are made when somebody wants
    them, and written by one statement."""
    type = WebhookEvent.TOKEN_REVOKED
    if await is_wanted(session, type):
        holders = await queries.holders_of(session, events)
        await tell(session, *(token_message(type, id, holders[id], event) for id, event in events.items()))
