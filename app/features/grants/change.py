"""Changing and ending grants: those that change together take as many statements as one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.outbox import tell
from app.db.versions import move_versions
from app.db.webhook_events import Message, WebhookEvent
from app.features.audit.record import close_versions, record_all, write_versions
from app.features.grants.schemas import GrantUpdate, principal_of
from app.features.grants.service import PERSONAL, check_servers, check_window, grant_content, shown, told
from app.http.authorization import Caller
from app.http.selectors import store_server_selector, store_tool_selector
from app.models.grants import Grant

_FIELDS = ("servers", "tools", "resources", "prompts", "not_before", "expires_at", "reason", "ended_at")


@dataclass(frozen=True, slots=True)
class Change:
    """What a locked grant is to become: ``patch`` applied to it, or ended where that is ``None``."""

    grant: Grant
    patch: GrantUpdate | None


@dataclass(frozen=True, slots=True)
class _Move:
    """A change that changes something: the new values, and what was shown before."""

    change: Change
    values: dict[str, Any]
    before: dict[str, Any]

    @property
    def grant(self) -> Grant:
        return self.change.grant

    @property
    def ends(self) -> bool:
        return self.change.patch is None


async def update_grant(
    session: AsyncSession,
    caller: Caller,
    grant: Grant,
    body: GrantUpdate,
    now: datetime,
    request_id: str | None,
) -> Grant:
    """Apply a merge patch to a locked grant. Raises ``Invalid``."""
    await change_grants(session, caller, [Change(grant, body)], now, request_id)
    return grant


async def end_grant(
    session: AsyncSession, caller: Caller, grant: Grant, now: datetime, request_id: str | None
) -> None:
    """End a locked grant: from the commit on no call rests on it."""
    await change_grants(session, caller, [Change(grant, None)], now, request_id)


async def change_grants(
    session: AsyncSession,
    caller: Caller,
    changes: Sequence[Change],
    now: datetime,
    request_id: str | None,
    because: Mapping[str, Any] | None = None,
) -> None:
    """Change locked grants, each named once; ``because`` is what their events say beside the change. Raises
    ``Invalid``, and then none has changed."""
    moves = [move for change in changes if (move := _move(change, now)) is not None]
    patches = [change.patch for change in changes if change.patch is not None]
    await check_servers(session, *(patch.servers for patch in patches if "servers" in patch.given()))
    if not moves:
        return
    ids = [move.grant.id for move in moves]
    await session.execute(update(Grant), [move.values for move in moves])
    again = select(Grant).where(col(Grant.id).in_(ids)).execution_options(populate_existing=True)
    (await session.scalars(again)).all()
    await move_versions(session, ids, narrows=True)
    await close_versions(session, ids)
    contents = {move.grant.id: grant_content(move.grant) for move in moves if not move.ends}
    await write_versions(session, "grant", contents)
    said = [
        ("grant.end" if move.ends else "grant.update", move.grant.id, _said(move) | dict(because or {}))
        for move in moves
    ]
    events = await record_all(session, caller, "grant", said, request_id=request_id)
    await tell(session, *(_message(move, event_id) for move, event_id in zip(moves, events, strict=True)))


def _move(change: Change, now: datetime) -> _Move | None:
    """The new values of a grant; ``None`` where they are the old ones. Raises ``Invalid``."""
    grant = change.grant
    given = {"ended_at": now} if change.patch is None else _given(grant, change.patch, now)
    if all(getattr(grant, name) == value for name, value in given.items()):
        return None
    kept = {name: getattr(grant, name) for name in _FIELDS}
    values = kept | given | {"id": grant.id, "revision": grant.revision + 1}
    return _Move(change, values, shown(grant) | {"reason": grant.reason})


def _given(grant: Grant, patch: GrantUpdate, now: datetime) -> dict[str, Any]:
    given = patch.given()
    not_before = given.get("not_before", grant.not_before)
    expires_at = given.get("expires_at", grant.expires_at)
    check_window(not_before, expires_at, now if given.get("expires_at") is not None else None)
    if "servers" in given:
        given["servers"] = store_server_selector(patch.servers)
    if "tools" in given:
        given["tools"] = store_tool_selector(patch.tools)
    return given


def _message(move: _Move, event_id: UUID) -> Message:
    type = WebhookEvent.GRANT_ENDED if move.ends else WebhookEvent.GRANT_UPDATED
    return told(type, move.grant, event_id)


def _said(move: _Move) -> dict[str, Any]:
    """What the event of a change says."""
    grant, before = move.grant, move.before
    if move.ends:
        return {"principal": principal_of(grant).model_dump(mode="json")}
    said: dict[str, Any] = {
        name: {"from": before[name], "to": value}
        for name, value in shown(grant).items()
        if before[name] != value
    }
    return said if before["reason"] == grant.reason else said | PERSONAL
