"""Issuing and attenuating: a new token with its one secret, or with a link for it.

What a token may do is worked out anew at each use as its scope within its identity's live grants, so no role can
issue anything beyond those grants; nothing of them needs to be copied or compared here.
"""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.crypto.keys import Peppers
from app.db.webhook_events import WebhookEvent, token_message
from app.domain import token_format
from app.domain.errors import Conflict, FieldError, Invalid
from app.domain.scopes import scope_within
from app.features.audit.record import record_made
from app.features.tokens import issue_queries, queries
from app.features.tokens.offer import offer_pickup
from app.features.tokens.pickup_queries import PickupReading
from app.features.tokens.queries import TokenReading
from app.features.tokens.schemas import TokenCreate, TokenView
from app.http.authorization import Caller
from app.http.runtime import Runtime
from app.http.selectors import (
    TokenScopeModel,
    load_scope,
    scope_to_domain,
    servers_named_by_scope,
    store_scope,
)
from app.lib.ids import IDENTITY, TOKEN, format_id, new_id
from app.models.tokens import Token, TokenSecret

DEEPEST = 5


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token with its secret, which is kept nowhere, or else with the link by which somebody takes one."""

    token: TokenView
    secret: str | None
    pickup: PickupReading | None


async def issue_token(
    session: AsyncSession, runtime: Runtime, caller: Caller, body: TokenCreate, request_id: str | None
) -> Issued:
    """Issue a token.

    Identity, owner and parent are held FOR SHARE until the commit, so that no offboarding or revocation that runs
    beside this one misses the new token. Raises ``Conflict`` when the identity or its owner is not active, and
    ``Invalid``.
    """
    named = servers_named_by_scope(body.scope, "/scope")
    identity = await hold_active(session, body.identity_id, {id for _, id in named})
    parent = None
    if body.parent_id is not None:
        parent = await _hold_parent(session, body.parent_id, identity)
        _check_within(body, parent)
    _check_expiry(identity.now, body.expires_at, runtime.max_token_ttl)
    _check_named(named, identity.servers)
    token = Token(
        id=new_id(),
        identity_id=body.identity_id,
        parent_id=body.parent_id,
        depth=0 if parent is None else parent.depth + 1,
        name=body.name,
        scope=store_scope(body.scope),
        expires_at=body.expires_at,
        ip_allow=list(dict.fromkeys(body.ip_allow)),
    )
    text, secret = (None, None) if body.delivery == "pickup" else new_secret(runtime.peppers, token.id)
    event_id = new_id()
    message = token_message(
        WebhookEvent.TOKEN_ISSUED, token.id, token.identity_id, event_id, parent_id=token.parent_id
    )
    await issue_queries.add(session, token, secret, message)
    await record_made(
        session, caller, "token.issue", "token", token.id, event_id=event_id,
        kind="token_scope", content=scope_content(token), changes=_issued(token),
        request_id=request_id, token_id=token.id,
    )  # fmt: skip
    # Active: so were those that it rests on, and they are held.
    view = TokenView.from_reading(TokenReading(token, "active", None, None))
    if text is not None:
        return Issued(view, text, None)
    recipient_id = identity.owner_id or identity.id
    pickup = await offer_pickup(
        session, caller, token, recipient_id, ttl=runtime.pickup_ttl, request_id=request_id
    )
    return Issued(view, None, pickup)


def new_secret(peppers: Peppers, token_id: UUID) -> tuple[str, TokenSecret]:
    """A secret of the token: the credential's text, and the row that keeps its HMAC."""
    text = token_format.format_credential(
        token_format.SCOPED_TOKEN, token_id, secrets.token_bytes(token_format.SECRET_BYTES)
    )
    credential = token_format.parse_credential(text, token_format.SCOPED_TOKEN)
    if credential is None:
        raise AssertionError("a new credential always parses")
    digest = peppers.digest(credential.digest_input)
    return text, TokenSecret(token_id=token_id, digest=digest, pepper_key_id=peppers.current_id)


def scope_content(token: Token) -> dict[str, Any]:
    """What history keeps of a token: all that says what it could reach, and when."""
    return {
        "identity_id": token.identity_id,
        "parent_id": token.parent_id,
        "scope": token.scope,
        "expires_at": token.expires_at.isoformat(),
        "ip_allow": token.ip_allow,
    }


async def check_scope_servers(session: AsyncSession, scope: TokenScopeModel) -> None:
    """Raise ``Invalid`` naming every server id of the scope that is not there."""
    named = servers_named_by_scope(scope, "/scope")
    if named:
        _check_named(named, await queries.existing_servers(session, {id for _, id in named}))


def _check_named(named: Sequence[tuple[str, UUID]], existing: Collection[UUID]) -> None:
    missing = [
        FieldError(pointer, "not_found", "There is no such server.")
        for pointer, id in named
        if id not in existing
    ]
    if missing:
        raise Invalid("The scope names servers that do not exist; see errors for which.", errors=missing)


def _check_expiry(now: datetime, expires_at: datetime, longest: timedelta) -> None:
    """By the database's clock."""
    if expires_at <= now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must lie in the future.")
    if expires_at > now + longest:
        latest = (now + longest).isoformat(timespec="seconds")
        raise Invalid.field(
            "/expires_at",
            "too_late",
            f"The time lies too far ahead: choose one up to {latest}.",
        )


async def hold_active(session: AsyncSession, identity_id: UUID, servers: Collection[UUID]) -> Row[Any]:
    """The identity, held FOR SHARE together with its owner, both active; see ``issue_queries.hold``."""
    while True:
        held = {row.id: row for row in await issue_queries.hold(session, identity_id, servers)}
        identity = held.get(identity_id)
        if identity is None:
            raise Invalid.field("/identity_id", "not_found", "There is no such identity.")
        # The agent may have been handed over while we waited; then its new owner must be held as well.
        if identity.owner_id is None or identity.owner_id in held:
            break
    for one, word in ((identity, "identity"), (held.get(identity.owner_id), "identity's owner")):
        if one is not None and one.status != "active":
            raise Conflict(
                f"This {word} is {one.status}: only active ones can get tokens. Reinstate it first.",
                code="identity_not_active",
            )
    return identity


async def _hold_parent(session: AsyncSession, parent_id: UUID, identity: Row[Any]) -> Token:
    parent = await queries.lock_token(session, parent_id, share=True)
    if parent is None:
        raise Invalid.field("/parent_id", "not_found", "There is no such token.")
    if parent.identity_id not in (identity.id, identity.owner_id):
        raise Invalid.field(
            "/identity_id", "not_of_parent",
            "A token can be attenuated for its own identity or an agent which that identity owns.",
        )  # fmt: skip
    reading = await queries.find_reading(session, parent_id)
    if reading is None or reading.status != "active":
        raise Invalid.field("/parent_id", "parent_not_live", "Only an active token can be attenuated.")
    if parent.depth >= DEEPEST:
        raise Invalid.field(
            "/parent_id",
            "too_deep",
            f"At most {DEEPEST} tokens may stand above one: attenuate one further up.",
        )
    return parent


def _check_within(body: TokenCreate, parent: Token) -> None:
    wrong = []
    if not scope_within(scope_to_domain(body.scope), load_scope(parent.scope)):
        wrong.append(FieldError("/scope", "wider_than_parent", "The scope must lie within the parent's."))
    if body.expires_at > parent.expires_at:
        latest = parent.expires_at.isoformat()
        wrong.append(
            FieldError(
                "/expires_at", "later_than_parent", f"The parent expires at {latest}; no later than that."
            )
        )
    if wrong:
        raise Invalid("An attenuated token may not reach further than its parent.", errors=wrong)


def _issued(token: Token) -> dict[str, Any]:
    return {
        "identity_id": format_id(IDENTITY, token.identity_id),
        "parent_id": None if token.parent_id is None else format_id(TOKEN, token.parent_id),
        "scope": token.scope,
        "expires_at": token.expires_at.isoformat(),
    }
