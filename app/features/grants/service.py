"""Create, read, change, end and preview grants. Changes to many grants take as many statements as one."""

from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.access.point_in_time import AccessReader
from app.access.snapshot import AccessSnapshot
from app.db import rows
from app.db.change import Change, Subject, Values, erase_from_history
from app.db.clock import transaction_time
from app.db.rows import Lock
from app.db.webhook_events import WebhookEvent
from app.domain.errors import Invalid
from app.domain.objects import Server, Tool
from app.domain.scopes import ScopeEntry
from app.domain.unused_access import reach_of
from app.features.grants import schemas
from app.features.grants.queries import SORTS, reject_unknown_servers, select_grants, unknown_servers
from app.features.identities.queries import lock_identity
from app.features.tools.queries import Selected, find_reach, may_see_reach
from app.http import selectors
from app.http.authorization import Caller, Permission, authorize
from app.http.etags import Precondition
from app.http.pagination import Cursors, read_page
from app.http.runtime import Runtime
from app.lib.event_loop import in_slices
from app.models.access import Grant
from app.models.identities import Group

# Rows are locked in id order, as everywhere. A person's requests for their agents are in the person's words too.
_LOCK_IN_WORDS_OF = text("""
SELECT id FROM grants WHERE identity_id = :id OR (
    approval_id IS NOT NULL AND identity_id IN (SELECT id FROM identities WHERE owner_id = :id)
) ORDER BY id FOR UPDATE
""")
_ERASE = text("""
UPDATE grants SET reason = NULL, revision = revision + 1, updated_at = now()
WHERE id = ANY(CAST(:ids AS uuid[])) AND reason IS NOT NULL
""")

_FIELDS = tuple(schemas.GrantUpdate.model_fields)
GRANT = Subject(
    "grant",
    audited=tuple(name for name in _FIELDS if name != "reason"),
    personal=("reason",),
    history="grant",
    kept=("identity_id", "group_id", *_FIELDS),
    webhook=("identity_id", "group_id"),
    shown={
        "servers": lambda stored: selectors.show_server_selector(stored).model_dump(mode="json"),
        "tools": lambda stored: selectors.show_tool_selector(stored).model_dump(mode="json"),
    },
)


async def list_grants(
    session: AsyncSession, caller: Caller, query: schemas.GrantQuery, runtime: Runtime
) -> tuple[list[Grant], str | None]:
    """Read a page of grants and the next cursor. Raises ``Forbidden`` when ended ones are requested."""
    if query.includes_ended():
        authorize(caller, Permission.AUDIT_READ)
    cursors = Cursors(runtime.peppers.derive("cursors"), "list_grants", query.filters())
    return await read_page(
        session, select_grants(query, await transaction_time(session)), Grant, cursors, query, SORTS
    )


async def get_grant(session: AsyncSession, caller: Caller, id: UUID, *, ended: bool = False) -> Grant:
    """Read a grant; with ``ended``, also an ended one. Raises ``NotFound`` and ``Forbidden``."""
    grant = await session.get(Grant, id)
    if ended and grant is not None:
        authorize(caller, Permission.AUDIT_READ)
        return grant
    return rows.existing(grant, "grant")


async def show(session: AsyncSession, caller: Caller, grant: Grant, now: datetime) -> schemas.GrantView:
    """Build the view of one grant, with its current reach if the caller may see that."""
    finding = None
    if may_see_reach(caller):
        finding = await find_reach(session, [Selected(grant.servers, grant.tools)])
    return schemas.GrantView.from_row(grant, now, finding)


async def preview(
    session: AsyncSession, caller: Caller, snapshot: AccessSnapshot, body: schemas.GrantPreviewRequest
) -> schemas.GrantPreview:
    """Preview the reach of a grant among the current servers. Raises ``Forbidden``."""
    authorize(caller, Permission.TOOLS_READ)
    state = await AccessReader(session, snapshot).of([])
    right = ScopeEntry(
        selectors.server_selector_to_domain(body.servers),
        selectors.tool_selector_to_domain(body.tools),
        resources=False,
        prompts=False,
    )
    selected = Selected(
        selectors.store_server_selector(body.servers), selectors.store_tool_selector(body.tools)
    )
    looked_up = await find_reach(session, [selected])
    return schemas.GrantPreview.of(await in_slices(_select_servers(right, state.servers)), looked_up.warnings)


async def create_grant(
    change: Change, body: schemas.GrantCreate, *, approval_id: UUID | None = None
) -> Grant:
    """Grant access to an identity or a group; ``approval_id`` is the access request that it fulfills. Raises
    ``Invalid``."""
    session, principal = change.session, body.principal
    _check_window(body.not_before, body.expires_at, change.now if body.expires_at is not None else None)
    await _check_principal(session, principal)
    await _check_servers(session, body.servers)
    fields = _columns(dict(body))
    del fields["principal"]
    for name in ("resources", "prompts"):
        if fields[name] is None:
            fields[name] = selectors.reaches_by_default(body.tools)
    fields["group_id" if isinstance(principal, schemas.GroupPrincipal) else "identity_id"] = principal.id
    grant = Grant(**fields, approval_id=approval_id)
    session.add(grant)
    await session.flush()
    change.record(
        "grant.create", GRANT, None, grant,
        details={"principal": principal.model_dump(mode="json")},
        # It only widens access: the principal's version makes earlier denials stale.
        widens=[principal.id, grant.id], webhook=WebhookEvent.GRANT_CREATED, approval_id=approval_id,
    )  # fmt: skip
    return grant


async def update_grant(change: Change, id: UUID, body: schemas.GrantUpdate, if_match: Precondition) -> Grant:
    """Apply a merge patch. Raises ``NotFound``, ``PreconditionFailed`` and ``Invalid``."""
    grant = await _lock_live(change.session, id, if_match)
    await change_grants(change, [(grant, body)])
    return grant


async def end_grant(change: Change, id: UUID, if_match: Precondition) -> Grant:
    """End a grant: after the commit it allows no call. Raises ``NotFound`` and ``PreconditionFailed``."""
    grant = await _lock_live(change.session, id, if_match)
    await change_grants(change, [(grant, None)])
    return grant


async def change_grants(
    change: Change,
    patches: Sequence[tuple[Grant, schemas.GrantUpdate | None]],
    because: Mapping[str, Any] | None = None,
) -> None:
    """Patch locked grants, each named once, and end those without a patch; ``because`` is added to their events. Raises
    ``Invalid``, and then nothing has changed."""
    values = [
        ({"ended_at": change.now} if patch is None else _new_values(grant, patch, change.now))
        for grant, patch in patches
    ]
    given = [patch.servers for _, patch in patches if patch is not None and "servers" in patch.given()]
    await _check_servers(change.session, *given)
    moves: list[tuple[Grant, Values, bool]] = []
    written: list[dict[str, Any]] = []
    for (grant, patch), fields in zip(patches, values, strict=True):
        if any(getattr(grant, name) != value for name, value in fields.items()):
            moves.append((grant, GRANT.values(grant), patch is None))
            before_fields = {name: getattr(grant, name) for name in (*_FIELDS, "ended_at")}
            written.append(before_fields | fields | {"id": grant.id, "revision": grant.revision + 1})
    if not moves:
        return
    await change.session.execute(update(Grant), written)
    again = select(Grant).where(col(Grant.id).in_([row["id"] for row in written]))
    (await change.session.scalars(again.execution_options(populate_existing=True))).all()
    for grant, before, ends in moves:
        details = {"principal": schemas.principal_of(grant).model_dump(mode="json")} if ends else {}
        change.record(
            "grant.end" if ends else "grant.update", GRANT, before, None if ends else grant,
            details=details | dict(because or {}), narrows=[grant.id],
            webhook=WebhookEvent.GRANT_ENDED if ends else WebhookEvent.GRANT_UPDATED,
        )  # fmt: skip


def end_grants_with(change: Change, event_id: UUID, grants: Sequence[Grant]) -> None:
    """End locked grants under the event of the identity or group that ends."""
    for grant in grants:
        change.record_with(event_id, GRANT, grant, None, narrows=[grant.id], webhook=WebhookEvent.GRANT_ENDED)
        grant.ended_at = change.now
        grant.revision += 1


async def _lock_live(session: AsyncSession, id: UUID, if_match: Precondition) -> Grant:
    grant = rows.existing(await rows.lock(session, Grant, id, Lock.UPDATE), "grant")
    if_match.check(grant.revision)
    return grant


def _new_values(grant: Grant, patch: schemas.GrantUpdate, now: datetime) -> dict[str, Any]:
    """The new values of a grant. Raises ``Invalid``."""
    fields = patch.given()
    not_before = fields.get("not_before", grant.not_before)
    expires_at = fields.get("expires_at", grant.expires_at)
    _check_window(not_before, expires_at, now if fields.get("expires_at") is not None else None)
    return _columns(fields)


def _columns(fields: dict[str, Any]) -> dict[str, Any]:
    """Convert API fields to columns."""
    if "servers" in fields:
        fields["servers"] = selectors.store_server_selector(fields["servers"])
    if "tools" in fields:
        fields["tools"] = selectors.store_tool_selector(fields["tools"])
    return fields


def _check_window(not_before: datetime | None, expires_at: datetime | None, now: datetime | None) -> None:
    """Raise ``Invalid`` for an empty window, or one that is over at ``now``, if given."""
    if expires_at is None:
        return
    if now is not None and expires_at <= now:
        raise Invalid.field("/expires_at", "in_the_past", "expires_at must be in the future.")
    if not_before is not None and not_before >= expires_at:
        raise Invalid.field("/not_before", "not_before_end", "not_before must be earlier than expires_at.")


async def _check_servers(session: AsyncSession, *given: selectors.ServerSelectorModel) -> None:
    """Raise ``Invalid`` with each pointer to a server that does not exist."""
    references = [pair for selector in given for pair in selectors.servers_named(selector, "/servers")]
    unknown = await unknown_servers(session, (id for _, id in references))
    reject_unknown_servers(references, unknown, "selector")


async def _check_principal(session: AsyncSession, principal: schemas.Principal) -> None:
    """Lock the principal against a concurrent offboarding or end. Raises ``Invalid``."""
    if isinstance(principal, schemas.GroupPrincipal):
        # An exclusive lock: who may join a group depends on whether it holds grants.
        group = await rows.lock(session, Group, principal.id)
        if group is None or group.ended_at is not None:
            raise Invalid.field("/principal/id", "not_found", "There is no such group.")
        return
    identity = await lock_identity(session, principal.id, share=True)
    if identity is None:
        raise Invalid.field("/principal/id", "not_found", "There is no such identity.")
    if identity.status == "offboarded":
        raise Invalid.field("/principal/id", "offboarded", "This identity is offboarded; reinstate it first.")


def _select_servers(
    right: ScopeEntry, servers: Mapping[UUID, Server]
) -> Generator[None, None, list[tuple[Server, list[Tool]]]]:
    """The selected servers by slug, including those without a selected tool. In steps of one server each."""
    reach = yield from reach_of(right, servers.values())
    selected = [
        (servers[id], [servers[id].tools[name] for name in sorted(names)]) for id, names in reach.items()
    ]
    return sorted(selected, key=lambda reached: reached[0].slug)


async def erase(change: Change, identity_id: UUID) -> None:
    """Erase the reasons of the identity's grants, also in their history."""
    ids = list(await change.session.scalars(_LOCK_IN_WORDS_OF, {"id": identity_id}))
    await erase_from_history(change.session, "grant", ids, "reason", None)
    await change.session.execute(_ERASE, {"ids": ids})
