"""People and agents: the list, the forms, the page of one by subjects, and the links to identity providers."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import (
    Form,
    Problems,
    ShownRevision,
    attempt_change,
    first_page,
    next_page,
    read_query,
    validate,
)
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.principals import IDENTITIES, PAGE_SIZE, format_name, search_person
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.domain.errors import Forbidden, Invalid, Malformed, NotFound
from app.features.access import reach_routes as access
from app.features.access.reach_schemas import AccessQuery, AccessReason, IdentityAccessView
from app.features.audit import routes as audit
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditQuery
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery, GroupView
from app.features.identities import routes as identities
from app.features.identities import service
from app.features.identities.role_checks import check_may_change, check_not_self
from app.features.identities.schemas import (
    IdentityCreate,
    IdentityQuery,
    IdentityUpdate,
    IdentityView,
    ReceiptQuery,
    ScheduledOffboardingQuery,
)
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


Writer = Annotated[Viewer, require_viewer(Permission.IDENTITIES_WRITE)]
Written = Annotated[Submission, require_submission(Permission.IDENTITIES_WRITE)]
_DONE = {"erased": "The personal data was erased. The id and its audit events remain."}
_FIELDS = ("user_name", "display_name", "email", "external_id")


@router.get(IDENTITIES, operation_id="page_list_identities")
async def show_identities(
    request: Request,
    viewer: Annotated[Viewer, require_viewer(Permission.IDENTITIES_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """List people and agents, newest first."""
    query = read_query(IdentityQuery, request, limit=PAGE_SIZE)
    found = await identities.list_identities(query, session, runtime)
    names = await names_of(session, [*(one.owner_id for one in found.items), *query.owner_id])
    return page(
        request, "identities/list.html", viewer=viewer, items=found.items, names=names,
        format_name=format_name, query=query,
        is_filtered=bool(query.q or query.kind or query.status or query.source or query.owner_id),
        more=next_page(request, found.next_cursor), first=first_page(request),
        done=_DONE.get(request.query_params.get("done", "")),
    )  # fmt: skip


@router.get(f"{IDENTITIES}/new", operation_id="page_new_identity")
async def show_new(request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime) -> Response:
    """Show the form for a person, or for an agent once its owner is chosen."""
    owner_id = _read_id(request.query_params.get("owner_id", ""))
    kind = "agent" if owner_id or request.query_params.get("kind") == "agent" else "person"
    return await _show_new(request, viewer, session, runtime, kind, owner_id)


@router.post(f"{IDENTITIES}/new", operation_id="page_create_identity")
async def create(request: Request, sent: Written, session: Session, runtime: CurrentRuntime) -> Response:
    """Create a person or an agent."""
    form, kind = sent.form, sent.form.text("kind")
    async with attempt_change(session) as attempt:
        values = _values_of(form) | {"kind": kind, "owner_id": form.text("owner_id") or None}
        body = validate(IdentityCreate, values | {"attributes": _attributes_of(form)})
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
    """Show the form that changes an identity."""
    it = await identities.get_identity(identity_id, session, Response())
    return await _show_edit(request, viewer, session, runtime, it)


@router.post(IDENTITIES + "/{identity_id}/edit", operation_id="page_update_identity")
async def update(
    request: Request, identity_id: IdentityId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """Change an identity at the revision that was shown."""
    form = sent.form
    it = await identities.get_identity(identity_id, session, Response())
    async with attempt_change(session) as attempt:
        attributes = _attributes_of(form)
        gone: dict[str, str | None] = {name: None for name in it.attributes if name not in attributes}
        values = _values_of(form) | {"attributes": gone | attributes}
        owner_id = form.text("owner_id")
        body = validate(IdentityUpdate, values | ({"owner_id": owner_id} if owner_id else {}))
        row = await service.lock_for_update(session, identity_id, body)
        ShownRevision.from_form(form).check(row.revision)
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
        who=format_name(it), values=values, revision=it.revision if typed is None else typed.text("revision"),
        owner_id=owner_id, owner=(await names_of(session, [owner_id])).get(owner_id) if owner_id else None,
        search=await search_person(request, session, runtime, "owner_id"),
    )  # fmt: skip


def _values_of(form: Form) -> dict[str, Any]:
    """The form's fields by the API's names; an empty field is null, except the user name."""
    return {name: form.text(name) or (None if name != "user_name" else "") for name in _FIELDS}


def _attributes_of(form: Form) -> dict[str, str]:
    """Parse attributes, one on each line, such as ``department=finance``. Raises ``Invalid``."""
    found: dict[str, str] = {}
    for line in form.raw("attributes").splitlines():
        name, separator, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not separator or name in found:
            raise Invalid.field(
                "/attributes",
                "not_an_attribute",
                "Enter one attribute on each line, each name once, such as department=finance.",
            )
        found[name] = value
    return found


def _read_id(text: str) -> UUID | None:
    """The identity that an address or a hidden field names. Raises ``Malformed``."""
    try:
        return parse_id(IDENTITY, text) if text else None
    except ValueError:
        raise Malformed("The address names an invalid identity. Open the page again.") from None


Reader = Annotated[Viewer, require_viewer(Permission.IDENTITIES_READ)]
_SERVERS_A_PAGE = 10
_IDENTITY_DONE = {
    "made": "Created. Grant access next, then issue a token.",
    "changed": "The changes are saved.",
    "suspended": "Suspended. Every call is refused.",
    "reinstated": "Reinstated. Revoked tokens stay revoked.",
    "scheduled": "The offboarding is scheduled.",
}


class _TabContext:
    """The arguments of the functions that read a tab."""

    def __init__(
        self, request: Request, viewer: Viewer, session: Session, runtime: Runtime, snapshot: AccessSnapshot
    ) -> None:
        self.request, self.viewer, self.session, self.runtime = request, viewer, session, runtime
        self.snapshot = snapshot


async def _overview(tab_context: _TabContext, it: IdentityView) -> dict[str, Any]:
    """Agents, owner, groups and identity providers."""
    session, runtime = tab_context.session, tab_context.runtime
    agents = IdentityQuery(owner_id=[it.id], limit=PAGE_SIZE)
    member = GroupQuery(member_id=[it.id], limit=PAGE_SIZE)
    known = {}
    if tab_context.viewer.may("identity_providers.read") and (it.links or it.provider_id):
        everything = IdentityProviderQuery(limit=200)
        found = await identity_providers.list_identity_providers(
            everything, tab_context.viewer.caller, session, runtime
        )
        known = {one.id: one.name for one in found.items}
    return {
        "agents": await identities.list_identities(agents, session, runtime),
        "groups": GroupView.page(
            *await groups.list_groups(session, tab_context.viewer.caller, member, runtime)
        ),
        "names": await names_of(session, [it.owner_id]),
        "providers": known,
    }


async def _access(tab_context: _TabContext, it: IdentityView) -> dict[str, Any]:
    """What the identity reaches, and why."""
    query = read_query(AccessQuery, tab_context.request, limit=_SERVERS_A_PAGE)
    reached = await access.list_identity_access(
        it.id, query, tab_context.session, tab_context.runtime, tab_context.snapshot
    )
    names = await names_of(
        tab_context.session, [*query.server_id, *(one.group_id for one in _reasons(reached))]
    )
    only = [names[id] for id in query.server_id if id in names]
    return {"access": reached, "names": names, "only": only, **_pager(tab_context, reached.next_cursor)}


async def _tokens(tab_context: _TabContext, it: IdentityView) -> dict[str, Any]:
    query = read_query(TokenQuery, tab_context.request, limit=PAGE_SIZE, identity_id=[it.id])
    found = await tokens.list_tokens(query, tab_context.session, tab_context.runtime)
    return {"tokens": found.items, **_pager(tab_context, found.next_cursor)}


async def _activity(tab_context: _TabContext, it: IdentityView) -> dict[str, Any]:
    query = read_query(AuditQuery, tab_context.request, limit=PAGE_SIZE, actor_id=[it.id])
    found = await audit.list_audit_events(tab_context.session, tab_context.runtime, query)
    return {"events": found.items, **_pager(tab_context, found.next_cursor)}


_Read = Callable[[_TabContext, IdentityView], Awaitable[dict[str, Any]]]
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
    """Show a tab of an identity's page."""
    it = await identities.get_identity(identity_id, session, Response())
    return await _show(_TabContext(request, viewer, session, runtime, snapshot), it)


@router.post(IDENTITIES + "/{identity_id}/reinstate", operation_id="page_reinstate_identity")
async def reinstate(
    request: Request,
    identity_id: IdentityId,
    sent: Written,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Reinstate an identity."""
    async with attempt_change(session) as attempt:
        row, owner = await service.lock_with_owner(session, identity_id)
        ShownRevision.from_form(sent.form).check(row.revision)
        await service.reinstate_identity(session, sent.viewer.caller, row, owner, request.state.request_id)
    if not attempt.problems:
        return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=reinstated")
    it = await identities.get_identity(identity_id, session, Response())
    return await _show(_TabContext(request, sent.viewer, session, runtime, snapshot), it, attempt.problems)


@router.get(IDENTITIES + "/{identity_id}/suspend", operation_id="page_suspend_identity")
async def show_suspend(
    request: Request, identity_id: IdentityId, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show what stops when an identity is suspended."""
    return await _show_suspend(request, viewer, session, runtime, identity_id, Problems())


@router.post(IDENTITIES + "/{identity_id}/suspend", operation_id="page_do_suspend_identity")
async def suspend(
    request: Request, identity_id: IdentityId, sent: Written, session: Session, runtime: CurrentRuntime
) -> Response:
    """Suspend an identity."""
    async with attempt_change(session) as attempt:
        row = await service.lock_found_identity(session, identity_id)
        ShownRevision.from_form(sent.form).check(row.revision)
        await service.suspend_identity(session, sent.viewer.caller, row, request.state.request_id)
    if not attempt.problems:
        return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=suspended")
    return await _show_suspend(request, sent.viewer, session, runtime, identity_id, attempt.problems)


async def _show(tab_context: _TabContext, it: IdentityView, problems: Problems | None = None) -> Response:
    problems = problems or Problems()
    tab = "overview" if problems else tab_context.request.query_params.get("tab") or "overview"
    if tab not in _TABS:
        raise NotFound("There is no such page.")
    _, permission, read = _TABS[tab]
    authorize(tab_context.viewer.caller, permission)
    session, runtime = tab_context.session, tab_context.runtime
    receipt = scheduled = None
    if it.status == "offboarded":
        latest = ReceiptQuery(identity_id=[it.id], limit=1)
        receipt = _first(await identities.list_offboarding_receipts(latest, session, runtime))
    else:
        planned = ScheduledOffboardingQuery(identity_id=[it.id], status=["pending"], limit=1)
        scheduled = _first(await identities.list_scheduled_offboardings(planned, session, runtime))
    return page(
        tab_context.request, "identities/one.html", viewer=tab_context.viewer, status=problems.status,
        problems=problems, it=it,
        who=format_name(it), format_name=format_name, tab=tab, receipt=receipt and receipt.id, scheduled=scheduled,
        tabs=[(key, words) for key, (words, needed, _) in _TABS.items() if tab_context.viewer.caller.may(needed)],
        done=_IDENTITY_DONE.get(tab_context.request.query_params.get("done", "")),
        may_end=await _may_end(session, tab_context.viewer, it), **await read(tab_context, it),
    )  # fmt: skip


async def _may_end(session: Session, viewer: Viewer, it: IdentityView) -> bool:
    """Whether the viewer may suspend and offboard it. That the last owner must stay is only checked on the attempt."""
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
        who=format_name(it), format_name=format_name,
        agents=await identities.list_identities(stopping, session, runtime),
    )  # fmt: skip


def _reasons(reached: IdentityAccessView) -> list[AccessReason]:
    """All access reasons on a page of access."""
    return [reason for server in reached.items for reason in (server, *server.tools)]


def _pager(tab_context: _TabContext, cursor: str | None) -> dict[str, str | None]:
    return {"more": next_page(tab_context.request, cursor), "first": first_page(tab_context.request)}


def _first(found: Page[Any]) -> Any:
    return found.items[0] if found.items else None


# Signing in as an identity gives all of its grants, so links need the permission to grant.
Granter = Annotated[Viewer, require_viewer(Permission.GRANTS_WRITE)]
Granted = Annotated[Submission, require_submission(Permission.GRANTS_WRITE)]
_MAX_PROVIDERS = 200


@router.get(IDENTITIES + "/{identity_id}/links", operation_id="page_identity_links")
async def show_links(
    request: Request, identity_id: IdentityId, viewer: Granter, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show the links to identity providers, and the form for another one."""
    return await _show_links(request, viewer, session, runtime, identity_id)


@router.post(IDENTITIES + "/{identity_id}/links", operation_id="page_set_identity_links")
async def set_links(
    request: Request, identity_id: IdentityId, sent: Granted, session: Session, runtime: CurrentRuntime
) -> Response:
    """Add the typed link, or remove the one whose button was pressed."""
    form = sent.form
    async with attempt_change(session) as attempt:
        it = await identities.get_identity(identity_id, session, Response())
        body = validate(IdentityUpdate, {"links": _wanted(it, form)})
        row = await service.lock_for_update(session, identity_id, body)
        ShownRevision.from_form(form).check(row.revision)
        await service.update_identity(
            session, sent.viewer.caller, row, body, runtime.clock, request.state.request_id
        )
    if attempt.problems:
        return await _show_links(request, sent.viewer, session, runtime, identity_id, form, attempt.problems)
    return redirect(f"{IDENTITIES}/{format_id(IDENTITY, identity_id)}?done=changed")


def _wanted(it: IdentityView, form: Form) -> list[dict[str, str]]:
    """The complete new list of links."""
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
        IdentityProviderQuery(limit=_MAX_PROVIDERS), viewer.caller, session, runtime
    )
    problems = problems or Problems()
    return page(
        request, "identities/links.html", viewer=viewer, status=problems.status, problems=problems, it=it,
        who=format_name(it), typed=typed or Form(),
        providers=[(format_id(IDENTITY_PROVIDER, one.id), one.name) for one in found.items],
        names={one.id: one.name for one in found.items},
    )  # fmt: skip
