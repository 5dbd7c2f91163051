"""People and agents as pages: the list, making one, and changing what is known of one.

One person or agent as pages: what is known of it, what it reaches and why, its tokens and deeds; suspending it.

The links of a person as a page: how providers know them, setting one, removing one.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import (
    AsShown,
    Form,
    Problems,
    attempted,
    first_page,
    next_page,
    read_query,
    validated,
)
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.principals import IDENTITIES, PAGE_SIZE, called, search_person
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.errors import Forbidden, Invalid, Malformed, NotFound
from app.features.access import reach_routes as access
from app.features.access.reach_schemas import AccessQuery, AccessReason, IdentityAccessView
from app.features.audit import routes as audit
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditQuery
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery, GroupView
from app.features.identities import receipt_routes as receipts
from app.features.identities import routes as identities
from app.features.identities import schedule_routes as schedules
from app.features.identities import service
from app.features.identities.schemas import (
    IdentityCreate,
    IdentityQuery,
    IdentityUpdate,
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
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, IdentityId, format_id, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)


Writer = Annotated[Viewer, signed_in(Permission.IDENTITIES_WRITE)]
Written = Annotated[Submission, submitted(Permission.IDENTITIES_WRITE)]
_DONE = {"erased": "The personal data is erased. The id stays, and what was done under it."}
_FIELDS = ("user_name", "display_name", "email", "external_id")


@router.get(IDENTITIES, operation_id="page_list_identities")
async def show_identities(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.IDENTITIES_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """People and agents, newest first."""
    query = read_query(IdentityQuery, request, limit=PAGE_SIZE)
    found = await identities.list_identities(query, session, runtime)
    names = await names_of(session, [*(one.owner_id for one in found.items), *query.owner_id])
    return page(
        request, "identities/list.html", viewer=viewer, items=found.items, names=names, called=called, query=query,
        is_filtered=bool(query.q or query.kind or query.status or query.source or query.owner_id),
        more=next_page(request, found.next_cursor), first=first_page(request),
        done=_DONE.get(request.query_params.get("done", "")),
    )  # fmt: skip


@router.get(f"{IDENTITIES}/new", operation_id="page_new_identity")
async def show_new(request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime) -> Response:
    """A form for a person, or for an agent once it is said who answers for it."""
    owner_id = _read_id(request.query_params.get("owner_id", ""))
    kind = "agent" if owner_id or request.query_params.get("kind") == "agent" else "person"
    return await _show_new(request, viewer, session, runtime, kind, owner_id)


@router.post(f"{IDENTITIES}/new", operation_id="page_create_identity")
async def create(request: Request, sent: Written, session: Session, runtime: CurrentRuntime) -> Response:
    """Make a person or an agent."""
    form, kind = sent.form, sent.form.text("kind")
    async with attempted(session) as attempt:
        values = _values_of(form) | {"kind": kind, "owner_id": form.text("owner_id") or None}
        body = validated(IdentityCreate, values | {"attributes": _attributes_of(form)})
        made = await service.create_identity(
            session, sent.viewer.caller, body, runtime.clock, request.state.request_id
        )
    if not attempt.problems:
        return redirect(f"{IDENTITIES}/{format_id(IDENTITY, made.id)}?done=made")
    owner_id = _read_id(form.text("owner_id"))
    return await _show_new(request, sent.viewer, session, runtime, kind, owner_id, form, attempt.problems)


@router.get(IDENTITIES + "/{identity_id}/edit", operation_id="page_edit_identity")
async def show_edit(
    request: Request, identity_id: IdentityId, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """A form with what is known of somebody."""
    it = await identities.get_identity(identity_id, session, Response())
    return await _show_edit(request, viewer, session, runtime, it)


@router.post(IDENTITIES + "/{identity_id}/edit", operation_id="page_update_identity")
async def update(
    request: Request, identity_id: IdentityId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """Change what is known of somebody, as it was shown."""
    form = sent.form
    it = await identities.get_identity(identity_id, session, Response())
    async with attempted(session) as attempt:
        attributes = _attributes_of(form)
        gone: dict[str, str | None] = {name: None for name in it.attributes if name not in attributes}
        values = _values_of(form) | {"attributes": gone | attributes}
        owner_id = form.text("owner_id")
        body = validated(IdentityUpdate, values | ({"owner_id": owner_id} if owner_id else {}))
        row = await service.lock_for_update(session, identity_id, body)
        AsShown.by(form).check(row.revision)
        await service.update_identity(
            session, sent.viewer.caller, row, body, runtime.clock, request.state.request_id
        )
    if not attempt.problems:
        return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=changed")
    return await _show_edit(request, sent.viewer, session, runtime, it, form, attempt.problems)


async def _show_new(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, kind: str, owner_id: UUID | None,
    typed: Form | None = None, problems: Problems | None = None,
) -> Response:  # fmt: skip
    problems = problems or Problems()
    owners = await names_of(session, [owner_id])
    return page(
        request, "identities/new.html", viewer=viewer, status=problems.status, problems=problems,
        typed=typed or Form(), kind=kind, owner_id=owner_id if owner_id in owners else None,
        owner=owners.get(owner_id) if owner_id else None,
        search=await search_person(request, session, runtime, "owner_id"),
    )  # fmt: skip


async def _show_edit(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, it: IdentityView,
    typed: Form | None = None, problems: Problems | None = None,
) -> Response:  # fmt: skip
    problems = problems or Problems()
    text = request.query_params.get("owner_id", "") if typed is None else typed.text("owner_id")
    owner_id = (_read_id(text) or it.owner_id) if it.kind == "agent" else None
    shown = {name: getattr(it, name) or "" for name in _FIELDS}
    shown["attributes"] = "\n".join(f"{name}={value}" for name, value in sorted(it.attributes.items()))
    values = shown if typed is None else {name: typed.raw(name) for name in shown}
    return page(
        request, "identities/edit.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=called(it), values=values, revision=it.revision if typed is None else typed.text("revision"),
        owner_id=owner_id, owner=(await names_of(session, [owner_id])).get(owner_id) if owner_id else None,
        search=await search_person(request, session, runtime, "owner_id"),
    )  # fmt: skip


def _values_of(form: Form) -> dict[str, Any]:
    """The fields of a form by the names of the API; empty is none, but a name is never none."""
    return {name: form.text(name) or (None if name != "user_name" else "") for name in _FIELDS}


def _attributes_of(form: Form) -> dict[str, str]:
    """Attributes, one a line, as ``department=finance``. Raises ``Invalid`` for another line."""
    found: dict[str, str] = {}
    for line in form.raw("attributes").splitlines():
        name, separator, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not separator or name in found:
            raise Invalid.field(
                "/attributes",
                "not_an_attribute",
                "Write one attribute a line, each once, as department=finance.",
            )
        found[name] = value
    return found


def _read_id(text: str) -> UUID | None:
    """The identity that an address or a hidden field names. Raises ``Malformed``."""
    try:
        return parse_id(IDENTITY, text) if text else None
    except ValueError:
        raise Malformed("The address names nobody that there could be: open the page anew.") from None


Reader = Annotated[Viewer, signed_in(Permission.IDENTITIES_READ)]
_SERVERS_A_PAGE = 10
_IDENTITY_DONE = {
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
        "groups": GroupView.page(*await groups.list_groups(session, room.viewer.caller, member, runtime)),
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
        done=_IDENTITY_DONE.get(room.request.query_params.get("done", "")),
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


# Who signs in as an identity has all that it was granted.
Granter = Annotated[Viewer, signed_in(Permission.GRANTS_WRITE)]
Granted = Annotated[Submission, submitted(Permission.GRANTS_WRITE)]
_MOST_PROVIDERS = 200


@router.get(IDENTITIES + "/{identity_id}/links", operation_id="page_identity_links")
async def show_links(
    request: Request, identity_id: IdentityId, viewer: Granter, session: Session, runtime: CurrentRuntime
) -> Response:
    """How providers know the person, and a form for one more."""
    return await _show_links(request, viewer, session, runtime, identity_id)


@router.post(IDENTITIES + "/{identity_id}/links", operation_id="page_set_identity_links")
async def set_links(
    request: Request, identity_id: IdentityId, sent: Granted, session: Session, runtime: CurrentRuntime
) -> Response:
    """Add the link that was typed, or remove the one whose button was pressed."""
    form = sent.form
    async with attempted(session) as attempt:
        it = await identities.get_identity(identity_id, session, Response())
        body = validated(IdentityUpdate, {"links": _wanted(it, form)})
        row = await service.lock_for_update(session, identity_id, body)
        AsShown.by(form).check(row.revision)
        await service.update_identity(
            session, sent.viewer.caller, row, body, runtime.clock, request.state.request_id
        )
    if attempt.problems:
        return await _show_links(request, sent.viewer, session, runtime, identity_id, form, attempt.problems)
    return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=changed")


def _wanted(it: IdentityView, form: Form) -> list[dict[str, str]]:
    """The whole list, as the API takes it."""
    removed = form.text("remove")
    kept = [link.model_dump(mode="json") for number, link in enumerate(it.links) if str(number) != removed]
    if removed:
        return kept
    return [*kept, {name: form.text(name) for name in ("provider_id", "kind", "value")}]


async def _show_links(
    request: Request, viewer: Viewer, session: AsyncSession, runtime: Runtime, id: UUID,
    typed: Form | None = None, problems: Problems | None = None,
) -> Response:  # fmt: skip
    it = await identities.get_identity(id, session, Response())
    found = await identity_providers.list_identity_providers(
        IdentityProviderQuery(limit=_MOST_PROVIDERS), viewer.caller, session, runtime
    )
    problems = problems or Problems()
    return page(
        request, "identities/links.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=called(it), typed=typed or Form(),
        providers=[(format_id(IDENTITY_PROVIDER, one.id), one.name) for one in found.items],
        names={one.id: one.name for one in found.items},
    )  # fmt: skip
