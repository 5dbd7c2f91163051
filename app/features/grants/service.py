"""Verbs of grants: create, change, end."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import FieldError, Invalid, NotFound
from app.features.audit.record import keep_version, record
from app.features.grants.models import Grant
from app.features.grants.repository import unknown_servers
from app.features.grants.schemas import GrantCreate, GrantUpdate, GroupPrincipal, Principal, principal_of
from app.features.groups.repository import lock_group
from app.features.identities.repository import lock_identity
from app.features.webhooks.messages import Message, WebhookEvent, grant_message
from app.features.webhooks.outbox import tell
from app.kit.authorization import Caller
from app.kit.selectors import (
    ServerSelectorModel,
    reaches_by_default,
    servers_named,
    show_server_selector,
    show_tool_selector,
    store_server_selector,
    store_tool_selector,
)
from app.kit.versions import move_versions

# A reason, which people word, can name somebody, and nobody can erase it from the audit log.
_PERSONAL = {"reason": {"personal": True}}


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
    changes |= {name: {"from": None, "to": value} for name, value in _shown(grant).items()}
    if grant.reason is not None:
        changes |= _PERSONAL
    event_id = await record(
        session, caller, "grant.create", "grant", grant.id,
        changes=changes, request_id=request_id, approval_id=approval_id,
    )  # fmt: skip
    await tell(session, told(WebhookEvent.GRANT_CREATED, grant, event_id))
    return grant


async def update_grant(
    session: AsyncSession,
    caller: Caller,
    grant: Grant,
    body: GrantUpdate,
    now: datetime,
    request_id: str | None,
    because: Mapping[str, Any] | None = None,
) -> Grant:
    """Apply a merge patch to a locked grant; ``because`` is what its event says beside the change. Raises
    ``Invalid``."""
    given = body.given()
    not_before = given.get("not_before", grant.not_before)
    expires_at = given.get("expires_at", grant.expires_at)
    check_window(not_before, expires_at, now if given.get("expires_at") is not None else None)
    if "servers" in given:
        await check_servers(session, body.servers)
        given["servers"] = store_server_selector(body.servers)
    if "tools" in given:
        given["tools"] = store_tool_selector(body.tools)
    moved = {name for name, value in given.items() if getattr(grant, name) != value}
    if not moved:
        return grant
    before = _shown(grant)
    for name in moved:
        setattr(grant, name, given[name])
    grant.revision += 1
    await session.flush()
    await session.refresh(grant)
    after = _shown(grant)
    await move_versions(session, [grant.id], narrows=True)
    await keep_version(session, "grant", grant.id, grant_content(grant))
    changes: dict[str, Any] = {
        name: {"from": before[name], "to": after[name]} for name in sorted(moved - _PERSONAL.keys())
    }
    if "reason" in moved:
        changes |= _PERSONAL
    changes |= because or {}
    event_id = await record(
        session, caller, "grant.update", "grant", grant.id, changes=changes, request_id=request_id
    )
    await tell(session, told(WebhookEvent.GRANT_UPDATED, grant, event_id))
    return grant


async def end_grant(
    session: AsyncSession,
    caller: Caller,
    grant: Grant,
    now: datetime,
    request_id: str | None,
    because: Mapping[str, Any] | None = None,
) -> None:
    """End a locked grant: from the commit on no call rests on it. ``because`` is what its event says beside that."""
    grant.ended_at = now
    grant.revision += 1
    await session.flush()
    await move_versions(session, [grant.id], narrows=True)
    await keep_version(session, "grant", grant.id, None)
    changes = {"principal": principal_of(grant).model_dump(mode="json")} | dict(because or {})
    event_id = await record(
        session, caller, "grant.end", "grant", grant.id, changes=changes, request_id=request_id
    )
    await tell(session, told(WebhookEvent.GRANT_ENDED, grant, event_id))


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


async def check_servers(session: AsyncSession, selector: ServerSelectorModel) -> None:
    """Raise ``Invalid``, naming each pointer, when a selector names servers that do not exist."""
    named = servers_named(selector, "/servers")
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


def _shown(grant: Grant) -> dict[str, Any]:
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
