"""One person or agent as pages: what is known of it, what it reaches and why, its tokens and deeds; suspending it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import AsShown, Problems, attempted, first_page, next_page, read_query
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.people import IDENTITIES, PAGE_SIZE, called
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.errors import Forbidden, NotFound
from app.features.access import reach_routes as access
from app.features.access.reach_schemas import AccessQuery, AccessReason, IdentityAccessView
from app.features.audit import routes as audit
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditQuery
from app.features.groups import routes as groups
from app.features.groups.schemas import GroupQuery
from app.features.identities import receipt_routes as receipts
from app.features.identities import routes as identities
from app.features.identities import schedule_routes as schedules
from app.features.identities import service
from app.features.identities.schemas import (
    IdentityQuery,
    IdentityView,
    ReceiptQuery,
    ScheduledOffboardingQuery,
)
from app.features.identities.standing import check_may_change, check_not_self
from app.features.identity_providers import routes as identity_providers
from app.features.identity_providers.schemas import IdentityProviderQuery
from app.features.tokens import routes as tokens
from app.features.tokens.schemas import TokenQuery
from app.http.authorization import Permission, authorize
from app.http.pagination import Page
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import IDENTITY, IdentityId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Reader = Annotated[Viewer, signed_in(Permission.IDENTITIES_READ)]
Writer = Annotated[Viewer, signed_in(Permission.IDENTITIES_WRITE)]
Written = Annotated[Submission, submitted(Permission.IDENTITIES_WRITE)]
_SERVERS_A_PAGE = 10
_DONE = {
    "made": "Created. Grants give access, and tokens use it.",
    "changed": "The changes are saved.",
    "suspended": "Suspended: every call is refused.",
    "reinstated": "Active again. What was revoked stays revoked.",
    "scheduled": "The offboarding is planned.",
}


class _Room:
    """What the parts of the page are read with."""

    def __init__(
        self, request: Request, viewer: Viewer, session: Session, runtime: Runtime, snapshot: AccessSnapshot
    ) -> None:
        self.request, self.viewer, self.session, self.runtime = request, viewer, session, runtime
        self.snapshot = snapshot


async def _overview(room: _Room, it: IdentityView) -> dict[str, Any]:
    """Who answers for whom, the groups, and the providers."""
    session, runtime = room.session, room.runtime
    agents = IdentityQuery(owner_id=[it.id], limit=PAGE_SIZE)
    member = GroupQuery(member_id=[it.id], limit=PAGE_SIZE)
    known = {}
    if room.viewer.may("identity_providers.read") and (it.links or it.provider_id):
        everything = IdentityProviderQuery(limit=200)
        found = await identity_providers.list_identity_providers(
            everything, room.viewer.caller, session, runtime
        )
        known = {one.id: one.name for one in found.items}
    return {
        "agents": await identities.list_identities(agents, session, runtime),
        "groups": await groups.list_groups(member, room.viewer.caller, session, runtime),
        "names": await names_of(session, [it.owner_id]),
        "providers": known,
    }


async def _access(room: _Room, it: IdentityView) -> dict[str, Any]:
    """What it reaches, and why."""
    query = read_query(AccessQuery, room.request, limit=_SERVERS_A_PAGE)
    reached = await access.list_identity_access(it.id, query, room.session, room.runtime, room.snapshot)
    names = await names_of(room.session, [*query.server_id, *(one.group_id for one in _reasons(reached))])
    only = [names[id] for id in query.server_id if id in names]
    return {"access": reached, "names": names, "only": only, **_pager(room, reached.next_cursor)}


async def _tokens(room: _Room, it: IdentityView) -> dict[str, Any]:
    query = read_query(TokenQuery, room.request, limit=PAGE_SIZE, identity_id=[it.id])
    found = await tokens.list_tokens(query, room.session, room.runtime)
    return {"tokens": found.items, **_pager(room, found.next_cursor)}


async def _activity(room: _Room, it: IdentityView) -> dict[str, Any]:
    query = read_query(AuditQuery, room.request, limit=PAGE_SIZE, actor_id=[it.id])
    found = await audit.list_audit_events(room.session, room.runtime, query)
    return {"events": found.items, **_pager(room, found.next_cursor)}


_Read = Callable[[_Room, IdentityView], Awaitable[dict[str, Any]]]
_TABS: dict[str, tuple[str, Permission, _Read]] = {
    "overview": ("Overview", Permission.IDENTITIES_READ, _overview),
    "access": ("Access", Permission.GRANTS_READ, _access),
    "tokens": ("Tokens", Permission.TOKENS_READ, _tokens),
    "activity": ("Activity", Permission.AUDIT_READ, _activity),
}


@router.get(IDENTITIES + "/{identity_id}", operation_id="page_show_identity")
async def show_identity(
    request: Request,
    identity_id: IdentityId,
    viewer: Reader,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """A person or agent, by subjects."""
    it = await identities.get_identity(identity_id, session, Response())
    return await _show(_Room(request, viewer, session, runtime, snapshot), it)


@router.post(IDENTITIES + "/{identity_id}/reinstate", operation_id="page_reinstate_identity")
async def reinstate(
    request: Request,
    identity_id: IdentityId,
    sent: Written,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Make it active again."""
    async with attempted(session) as attempt:
        row, owner = await service.lock_with_owner(session, identity_id)
        AsShown.by(sent.form).check(row.revision)
        await service.reinstate_identity(session, sent.viewer.caller, row, owner, request.state.request_id)
    if not attempt.problems:
        return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=reinstated")
    it = await identities.get_identity(identity_id, session, Response())
    return await _show(_Room(request, sent.viewer, session, runtime, snapshot), it, attempt.problems)


@router.get(IDENTITIES + "/{identity_id}/suspend", operation_id="page_suspend_identity")
async def show_suspend(
    request: Request, identity_id: IdentityId, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """What stops when it is suspended."""
    return await _show_suspend(request, viewer, session, runtime, identity_id, Problems())


@router.post(IDENTITIES + "/{identity_id}/suspend", operation_id="page_do_suspend_identity")
async def suspend(
    request: Request, identity_id: IdentityId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """Stop every call of it."""
    async with attempted(session) as attempt:
        row = await service.lock_found_identity(session, identity_id)
        AsShown.by(sent.form).check(row.revision)
        await service.suspend_identity(session, sent.viewer.caller, row, request.state.request_id)
    if not attempt.problems:
        return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=suspended")
    return await _show_suspend(request, sent.viewer, session, runtime, identity_id, attempt.problems)


async def _show(room: _Room, it: IdentityView, problems: Problems | None = None) -> Response:
    problems = problems or Problems()
    tab = "overview" if problems else room.request.query_params.get("tab") or "overview"
    if tab not in _TABS:
        raise NotFound("There is no such page.")
    _, permission, read = _TABS[tab]
    authorize(room.viewer.caller, permission)
    session, runtime = room.session, room.runtime
    receipt = scheduled = None
    if it.status == "offboarded":
        latest = ReceiptQuery(identity_id=[it.id], limit=1)
        receipt = _first(await receipts.list_offboarding_receipts(latest, session, runtime))
    else:
        planned = ScheduledOffboardingQuery(identity_id=[it.id], status=["pending"], limit=1)
        scheduled = _first(await schedules.list_scheduled_offboardings(planned, session, runtime))
    return page(
        room.request, "identities/one.html", viewer=room.viewer, status=problems.status, problems=problems, it=it,
        who=called(it), called=called, tab=tab, receipt=receipt and receipt.id, scheduled=scheduled,
        tabs=[(key, words) for key, (words, needed, _) in _TABS.items() if room.viewer.caller.may(needed)],
        done=_DONE.get(room.request.query_params.get("done", "")),
        may_end=await _may_end(session, room.viewer, it), **await read(room, it),
    )  # fmt: skip


async def _may_end(session: Session, viewer: Viewer, it: IdentityView) -> bool:
    """Whether suspending and offboarding are for this viewer. That the last owner stays is said when it is tried."""
    try:
        await check_not_self(session, viewer.caller, it.id)
        await check_may_change(session, viewer.caller, it.id)
    except Forbidden:
        return False
    return True


async def _show_suspend(
    request: Request, viewer: Viewer, session: Session, runtime: Runtime, id: IdentityId, problems: Problems
) -> Response:
    it = await identities.get_identity(id, session, Response())
    stopping = IdentityQuery(owner_id=[id], status=["active"], limit=PAGE_SIZE)
    return page(
        request, "identities/suspend.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=called(it), called=called, agents=await identities.list_identities(stopping, session, runtime),
    )  # fmt: skip


def _reasons(reached: IdentityAccessView) -> list[AccessReason]:
    """Everything on a page of access that says why."""
    return [reason for server in reached.items for reason in (server, *server.tools)]


def _pager(room: _Room, cursor: str | None) -> dict[str, str | None]:
    return {"more": next_page(room.request, cursor), "first": first_page(room.request)}


def _first(found: Page[Any]) -> Any:
    return found.items[0] if found.items else None
