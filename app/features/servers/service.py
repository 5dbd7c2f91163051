"""Register, change and end servers."""

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.credentials import place_of_fields
from app.db.change import savepoint
from app.db.versions import move_versions
from app.domain.access import FLEET_ID
from app.domain.errors import Conflict, FieldError, Invalid, NotFound
from app.features.audit.record import record
from app.features.servers import queries
from app.features.servers.history import KEPT, keep_server
from app.features.servers.places import PlaceRules, check_place, digest_of
from app.features.servers.schemas import ServerCreate, ServerPatch, ServerView
from app.http.authorization import Caller
from app.http.selectors import MAX_LABELS
from app.models.servers import Server, ServerCredential

# Decisions depend on these, so a change moves the server's version; fields that grants select by also move the fleet's.
_DECISIVE = {"status", "url", "command", "args", "env_names", "labels", "owner_group_id", "keep_arguments"}
_PLACE = {"url", "command", "args", "env_names"}


async def create(
    session: AsyncSession, rules: PlaceRules, new: ServerCreate, caller: Caller, request_id: str | None
) -> Server:
    """Register a server. Raises ``Invalid`` (``forbidden_url`` and ``stdio_not_allowed`` among its codes) and
    ``Conflict`` (``slug_taken``)."""
    place = {name: getattr(new, name) for name in sorted(_PLACE)}
    check_place(rules, new.transport, place)
    await _check_owner(session, new.owner_group_id)
    if await queries.slug_is_taken(session, new.slug):
        raise _slug_taken(new.slug)
    row = Server(**new.model_dump(exclude={"name"}), name=new.name or new.slug)
    if row.transport == "stdio":
        row.args, row.env_names = row.args or [], row.env_names or []
    try:
        async with savepoint(session):
            session.add(row)
            await session.flush()
    except IntegrityError as error:
        raise _slug_taken(new.slug) from error
    await session.refresh(row)
    await keep_server(session, row)
    await move_versions(session, [row.id, FLEET_ID], narrows=False)
    await _record(
        session, caller, "server.create", row, _audit_changes(new.model_dump(mode="json")), request_id
    )
    return row


async def update(
    session: AsyncSession,
    rules: PlaceRules,
    row: Server,
    patch: ServerPatch,
    caller: Caller,
    request_id: str | None,
) -> None:
    """Change a locked server by a merge patch. Raises ``Invalid``, and ``Conflict`` for a URL or command other than the
    one that a stored credential is bound to."""
    fields = patch.given()
    if "labels" in fields:
        fields["labels"] = _merge(row.labels, fields["labels"])
    changed = {name for name, value in fields.items() if getattr(row, name) != value}
    if not changed:
        return
    if changed & _PLACE:
        place = {name: fields.get(name, getattr(row, name)) for name in sorted(_PLACE)}
        check_place(rules, row.transport, place)
        await _check_bound(session, row, place_of_fields(row.transport, place))
        row.sync_state, row.sync_started_at = "never", None
    if "owner_group_id" in changed:
        await _check_owner(session, fields["owner_group_id"])
    before = {name: getattr(row, name) for name in changed}
    for name in changed:
        setattr(row, name, fields[name])
    row.revision += 1
    await session.flush()
    if changed & KEPT:
        await keep_server(session, row)
    moved_ids = [row.id] if changed & _DECISIVE else []
    if "labels" in changed:
        moved_ids.append(FLEET_ID)
    disabled = "status" in changed and row.status != "active"
    narrows = disabled or bool(changed & {"labels", "owner_group_id"})
    await move_versions(session, moved_ids, narrows=narrows)
    after = _audit_changes({name: getattr(row, name) for name in changed})
    before = _audit_changes(before)
    changes = {name: {"from": before[name], "to": after[name]} for name in sorted(changed)}
    await _record(session, caller, "server.update", row, changes, request_id)
    await session.refresh(row)


async def end(session: AsyncSession, row: Server, caller: Caller, request_id: str | None) -> None:
    """End a locked server: it cannot be called, its credentials are deleted, its history stays."""
    row.ended_at = await queries.database_time(session)
    row.revision += 1
    await session.execute(delete(ServerCredential).where(col(ServerCredential.server_id) == row.id))
    await session.flush()
    await keep_server(session, row)
    await move_versions(session, [row.id, FLEET_ID], narrows=True)
    await _record(session, caller, "server.delete", row, {"slug": row.slug}, request_id)


async def require(session: AsyncSession, server_id: UUID, *, ended: bool = False) -> Server:
    """Read a server. Raises ``NotFound``."""
    row = await queries.find(session, server_id, ended=ended)
    if row is None:
        raise _not_found()
    return row


async def require_locked(session: AsyncSession, server_id: UUID) -> Server:
    """Lock and read a live server. Raises ``NotFound``."""
    row = await queries.lock(session, server_id)
    if row is None:
        raise _not_found()
    return row


async def show(session: AsyncSession, rows: list[Server]) -> list[ServerView]:
    """Build the views of several rows."""
    ids = [row.id for row in rows]
    counts = await queries.count_tools(session, ids)
    credentials = await queries.own_credentials(session, ids)
    return [ServerView.from_row(row, counts.get(row.id, 0), credentials.get(row.id)) for row in rows]


def without_query(url: str | None) -> str | None:
    """A URL for the audit log without its query, which may contain a key."""
    return None if url is None else urlsplit(url)._replace(query="").geturl()


def _not_found() -> NotFound:
    return NotFound("There is no such server.")


def _slug_taken(slug: str) -> Conflict:
    days = queries.SLUG_RESERVATION.days
    return Conflict(
        f"The slug {slug} is in use, or was until less than {days} days ago; choose another.",
        code="slug_taken",
        errors=[FieldError("/slug", "slug_taken", "choose another slug")],
    )


async def _check_bound(session: AsyncSession, row: Server, place: str) -> None:
    bound = await queries.credential_origins(session, row.id)
    if bound and bound != {place}:
        what = "command" if row.transport == "stdio" else "URL"
        raise Conflict(
            "A stored credential is bound to the current origin and is never sent elsewhere. Remove it (DELETE "
            f"/api/v1/servers/.../credential), change the {what}, and set it again. "
            f"Bound to: {', '.join(sorted(bound))}.",
            code="credential_bound_to_origin",
        )


async def _check_owner(session: AsyncSession, group_id: UUID | None) -> None:
    if group_id is not None and not await queries.group_exists(session, group_id):
        raise Invalid.field("/owner_group_id", "unknown_group", "There is no such group.")


def _merge(labels: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
    merged = {key: value for key, value in {**labels, **changes}.items() if value is not None}
    if len(merged) > MAX_LABELS:
        raise Invalid.field(
            "/labels", "too_many", f"A server has at most {MAX_LABELS} labels; set some to null."
        )
    return merged


def _audit_changes(changes: dict[str, Any]) -> dict[str, Any]:
    """Fields that the audit log may keep."""
    audited = dict(changes)
    if "url" in audited:
        audited["url"] = without_query(audited["url"])
    if audited.get("args"):
        audited["args"] = f"{len(audited['args'])} words, sha256 {digest_of(audited['args'])}"
    return audited


async def _record(
    session: AsyncSession,
    caller: Caller,
    action: str,
    row: Server,
    changes: dict[str, Any],
    request_id: str | None,
) -> None:
    await record(
        session, caller, action, "server", row.id, changes=changes, request_id=request_id, server_id=row.id
    )
