"""Giving a right, and what all changes of grants check and say."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.db.outbox import tell
from app.db.versions import move_versions
from app.db.webhook_events import Message, WebhookEvent, grant_message
from app.domain.errors import FieldError, Invalid, NotFound
from app.features.audit.record import keep_version, record
from app.features.grants.queries import unknown_servers
from app.features.grants.schemas import GrantCreate, GroupPrincipal, Principal
from app.features.groups.queries import lock_group
from app.features.identities.queries import lock_identity
from app.http.authorization import Caller
from app.http.selectors import (
    ServerSelectorModel,
    reaches_by_default,
    servers_named,
    show_server_selector,
    show_tool_selector,
    store_server_selector,
    store_tool_selector,
)
from app.models.grants import Grant

# A reason, which people word, can name somebody, and nobody can erase it from the audit log.
PERSONAL = {"reason": {"personal": True}}


async def create_grant(
    session: AsyncSession,
    caller: Caller,
    body: GrantCreate,
    now: datetime,
    request_id: str | None,
    *,
    approval_id: UUID | None = None,
) -> Grant:
    """Give a right to an identity or a group; ``approval_id`` is the request for access that this answers. Raises
    ``Invalid``."""
    check_window(body.not_before, body.expires_at, now if body.expires_at is not None else None)
    await _check_principal(session, body.principal)
    await check_servers(session, body.servers)
    default = reaches_by_default(body.tools)
    to_group = isinstance(body.principal, GroupPrincipal)
    grant = Grant(
        identity_id=None if to_group else body.principal.id,
        group_id=body.principal.id if to_group else None,
        servers=store_server_selector(body.servers),
        tools=store_tool_selector(body.tools),
        resources=default if body.resources is None else body.resources,
        prompts=default if body.prompts is None else body.prompts,
        not_before=body.not_before,
        expires_at=body.expires_at,
        reason=body.reason,
        approval_id=approval_id,
    )
    session.add(grant)
    await session.flush()
    await session.refresh(grant)
    # Only widens: the principal's version makes denies that were decided without this grant stale.
    await move_versions(session, [body.principal.id, grant.id], narrows=False)
    await keep_version(session, "grant", grant.id, grant_content(grant))
    changes = {"principal": body.principal.model_dump(mode="json")}
    changes |= {name: {"from": None, "to": value} for name, value in shown(grant).items()}
    if grant.reason is not None:
        changes |= PERSONAL
    event_id = await record(
        session, caller, "grant.create", "grant", grant.id,
        changes=changes, request_id=request_id, approval_id=approval_id,
    )  # fmt: skip
    await tell(session, told(WebhookEvent.GRANT_CREATED, grant, event_id))
    return grant


def told(type: WebhookEvent, grant: Grant, event_id: UUID) -> Message:
    """The message that something happened to a grant."""
    return grant_message(type, grant.id, event_id, identity_id=grant.identity_id, group_id=grant.group_id)


def live(grant: Grant | None) -> Grant:
    """The grant itself. Raises ``NotFound`` when there is none or it has ended."""
    if grant is None or grant.ended_at is not None:
        raise NotFound("There is no such grant.")
    return grant


def grant_content(grant: Grant) -> dict[str, Any]:
    """What the history keeps of a grant: all that a decision could read, as it is stored."""
    return {
        "identity_id": grant.identity_id,
        "group_id": grant.group_id,
        "servers": grant.servers,
        "tools": grant.tools,
        "resources": grant.resources,
        "prompts": grant.prompts,
        "not_before": _time(grant.not_before),
        "expires_at": _time(grant.expires_at),
        "reason": grant.reason,
    }


def check_window(not_before: datetime | None, expires_at: datetime | None, now: datetime | None) -> None:
    """Raise ``Invalid`` for a window that is empty, or over when ``now`` is given."""
    if expires_at is None:
        return
    if now is not None and expires_at <= now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must be in the future.")
    if not_before is not None and not_before >= expires_at:
        raise Invalid.field("/not_before", "not_before_end", "not_before must be earlier than expires_at.")


async def check_servers(session: AsyncSession, *selectors: ServerSelectorModel) -> None:
    """Raise ``Invalid``, naming each pointer, when a selector names servers that do not exist."""
    named = [pair for selector in selectors for pair in servers_named(selector, "/servers")]
    unknown = await unknown_servers(session, (id for _, id in named))
    if unknown:
        errors = [
            FieldError(pointer, "not_found", "There is no such server.")
            for pointer, id in named
            if id in unknown
        ]
        raise Invalid("The selector names servers that do not exist; see errors for which.", errors=errors)


async def _check_principal(session: AsyncSession, principal: Principal) -> None:
    """Lock the holder against change, so that no offboarding or end slips past. Raises ``Invalid``."""
    if isinstance(principal, GroupPrincipal):
        # Exclusively: who may join a group depends on whether it holds grants.
        group = await lock_group(session, principal.id)
        if group is None or group.ended_at is not None:
            raise Invalid.field("/principal/id", "not_found", "There is no such group.")
        return
    identity = await lock_identity(session, principal.id, share=True)
    if identity is None:
        raise Invalid.field("/principal/id", "not_found", "There is no such identity.")
    if identity.status == "offboarded":
        raise Invalid.field("/principal/id", "offboarded", "This identity is offboarded; reinstate it first.")


def shown(grant: Grant) -> dict[str, Any]:
    """The fields of a grant as the API writes them, for the audit; the reason stays out of it."""
    return {
        "servers": show_server_selector(grant.servers).model_dump(mode="json"),
        "tools": show_tool_selector(grant.tools).model_dump(mode="json"),
        "resources": grant.resources,
        "prompts": grant.prompts,
        "not_before": _time(grant.not_before),
        "expires_at": _time(grant.expires_at),
    }


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
