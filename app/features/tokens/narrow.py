"""Narrowing: a token's scope may only get smaller and its expiry only earlier."""

from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.outbox import tell
from app.db.versions import move_versions
from app.db.webhook_events import WebhookEvent, token_message
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.domain.scopes import scope_within
from app.features.audit.record import keep_version, record
from app.features.tokens import queries
from app.features.tokens.issue import check_scope_servers, scope_content
from app.features.tokens.queries import TokenReading
from app.features.tokens.schemas import TokenUpdate
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.http.selectors import load_scope, scope_to_domain, store_scope
from app.models.tokens import Token


async def narrow_token(
    session: AsyncSession,
    caller: Caller,
    token_id: UUID,
    body: TokenUpdate,
    if_match: Precondition,
    request_id: str | None,
) -> None:
    """Apply the patch. Raises ``NotFound``, ``Conflict`` for one that has ended, ``Invalid`` for a wider one, and
    ``PreconditionFailed``."""
    # The children's expiry follows, so they are locked with it, in the one order.
    below = await queries.lock_living_family(session, [col(Token.id) == token_id])
    token = await living_token(session, token_id)
    if_match.check(token.row.revision)
    row, given = token.row, body.model_fields_set
    changes: dict[str, Any] = {}
    _check_narrower(body, row)
    if "scope" in given:
        await check_scope_servers(session, body.scope)
        scope = store_scope(body.scope)
        if scope != row.scope:
            changes["scope"] = {"from": row.scope, "to": scope}
            row.scope = scope
    moved = []
    if "expires_at" in given and body.expires_at != row.expires_at:
        if body.expires_at <= await queries.database_now(session):
            raise Invalid.field(
                "/expires_at",
                "in_the_past",
                "expires_at must lie in the future; to end a token now, revoke it.",
            )
        changes["expires_at"] = {"from": row.expires_at.isoformat(), "to": body.expires_at.isoformat()}
        row.expires_at = body.expires_at
        children = [id for id in below if id != row.id]
        moved = await queries.clamp_expiry(session, children, body.expires_at)
    if changes:
        moved.append(row.id)
    if "name" in given and body.name != row.name:
        # A name can be personal, so the event says that it changed and not what it was.
        changes["name"] = "changed"
        row.name = body.name
    if not changes:
        return
    row.revision += 1
    await session.flush()
    await _note_narrowed(session, caller, row, moved, changes, request_id)
    await move_versions(session, moved, narrows=True)


async def _note_narrowed(
    session: AsyncSession,
    caller: Caller,
    row: Token,
    moved: list[UUID],
    changes: dict[str, Any],
    request_id: str | None,
) -> None:
    """Keep the history of all that moved, and tell of the change: one event, and a message for each token."""
    holders = {row.id: row.identity_id}
    for id in moved:
        reading = await queries.find_reading(session, id)
        if reading is not None:
            holders[id] = reading.row.identity_id
            await keep_version(session, "token_scope", id, scope_content(reading.row))
    event_id = await record(
        session, caller, "token.update", "token", row.id,
        changes=changes, request_id=request_id, token_id=row.id,
    )  # fmt: skip
    # Those that got its expiry have changed as well, by the one event.
    updated = (
        token_message(WebhookEvent.TOKEN_UPDATED, id, holder, event_id) for id, holder in holders.items()
    )
    await tell(session, *updated)


async def living_token(session: AsyncSession, token_id: UUID) -> TokenReading:
    """A token that can still be changed. Raises ``NotFound`` or ``Conflict``."""
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound("There is no such token.")
    if reading.status in {"revoked", "expired"}:
        raise Conflict(f"This token is {reading.status} and stays so: issue another.", code="token_ended")
    return reading


def _check_narrower(body: TokenUpdate, row: Token) -> None:
    wrong = []
    if "scope" in body.model_fields_set and not scope_within(
        scope_to_domain(body.scope), load_scope(row.scope)
    ):
        wrong.append(
            FieldError(
                "/scope", "wider", "The scope must provably lie within the present one; to widen, issue anew."
            )
        )
    if "expires_at" in body.model_fields_set and body.expires_at > row.expires_at:
        now = row.expires_at.isoformat()
        wrong.append(
            FieldError("/expires_at", "later", f"It may only get earlier than {now}; to prolong, issue anew.")
        )
    if wrong:
        raise Invalid("A token can only be narrowed.", errors=wrong)
