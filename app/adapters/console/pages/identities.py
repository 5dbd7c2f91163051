"""People and agents: the list, the forms, the page of one by subjects, links to identity providers, and invitations."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit
from app.adapters.console.display import format_name, link
from app.adapters.console.forms import Form, format_pairs, parse_pairs, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.principals import IDENTITIES, PAGE_SIZE, search_person
from app.domain.errors import Forbidden, NotFound
from app.features.access.reach import AccessQuery, AccessReason, IdentityAccessView, list_identity_access
from app.features.audit import reading
from app.features.audit.schemas import AuditQuery
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery, GroupView
from app.features.identities import schemas
from app.features.identities import service as identities
from app.features.identities.receipts import list_receipts
from app.features.identities.role_checks import check_may_change, check_not_self
from app.features.identities.schedule import list_schedules
from app.features.identity_providers import queries as providers
from app.features.identity_providers import service as identity_providers
from app.features.identity_providers.schemas import IdentityProviderQuery
from app.features.invitations import service as invitations
from app.features.invitations.schemas import PAGE, InvitationCreate, InvitationQuery, InvitationView
from app.features.tokens import service as tokens
from app.features.tokens.schemas import TokenQuery
from app.http.authorization import Permission, authorize
from app.http.pagination import Page
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, INVITATION, IdentityId, InvitationId, format_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)
Writer = Annotated[PageContext, may_open(Permission.IDENTITIES_WRITE)]
Written = Annotated[Submission, may_submit(Permission.IDENTITIES_WRITE)]
_DONE = {"erased": "The personal data was erased. The id and its audit events remain."}
_FIELDS = ("user_name", "display_name", "email", "external_id")
Reader = Annotated[PageContext, may_open(Permission.IDENTITIES_READ)]
_SERVERS_A_PAGE = 10
_IDENTITY_DONE = {
    "made": "Created. Grant access next, then issue a token.",
    "changed": "The changes are saved.",
    "suspended": "Suspended. Every call is refused.",
    "reinstated": "Reinstated. Revoked tokens stay revoked.",
    "scheduled": "The offboarding is scheduled.",
}
_Read = Callable[[PageContext, schemas.IdentityView], Awaitable[dict[str, Any]]]
# Signing in as an identity gives all of its grants, so links need the permission to grant.
Granter = Annotated[PageContext, may_open(Permission.GRANTS_WRITE)]
Granted = Annotated[Submission, may_submit(Permission.GRANTS_WRITE)]
_MAX_PROVIDERS = 200
INVITATIONS = "/console/invitations"
_INVITATION_DONE = {
    "confirmed": "The account was linked. The person can sign in.",
    "revoked": "The invitation was revoked. Its link no longer works.",
}


@router.get(IDENTITIES, operation_id="page_list_identities")
async def show_identities(context: Reader) -> Response:
    """List people and agents, newest first."""
    query = context.query(schemas.IdentityQuery, limit=PAGE_SIZE)
    found = await identities.list_identities(context.session, query, context.runtime)
    names = await context.names([*(one.owner_id for one in found.items), *query.owner_id])
    return context.page(
        "identities/list.html", items=found.items, names=names,
        query=query,
        done=_DONE, **context.pager(found.next_cursor),
    )  # fmt: skip


@router.get(f"{IDENTITIES}/new", operation_id="page_new_identity")
async def show_new(context: Writer) -> Response:
    """Show the form for a person, or for an agent once its owner is chosen."""
    owner_id = context.typed.optional_id("owner_id", IDENTITY)
    kind = "agent" if owner_id or context.typed.text("kind") == "agent" else "person"
    owner = await context.name(owner_id)
    return context.page(
        "identities/new.html", typed=context.form, kind=kind,
        owner_id=owner_id if owner else None, owner=owner,
        search=await search_person(context, "owner_id"),
    )  # fmt: skip


@router.post(f"{IDENTITIES}/new", operation_id="page_create_identity")
async def create(sent: Written) -> Response:
    """Create a person or an agent."""
    form = sent.form
    async with sent.attempt():
        values = _values_of(form) | {"kind": form.text("kind"), "owner_id": form.text("owner_id") or None}
        body = validate(schemas.IdentityCreate, values | {"attributes": _attributes_of(form)})
        made = await identities.create_identity(sent.change, body)
    if sent.problems:
        return await show_new(sent)
    return redirect(f"{link('identity', made.id)}?done=made")


@router.get(IDENTITIES + "/{identity_id}/edit", operation_id="page_edit_identity")
async def show_edit(context: Writer, identity_id: IdentityId) -> Response:
    """Show the form that changes an identity."""
    it = await identities.show_identity(context.session, identity_id)
    form = context.form
    owner_id = None
    if it.kind == "agent":
        owner_id = context.typed.optional_id("owner_id", IDENTITY) or it.owner_id
    shown = {name: getattr(it, name) or "" for name in _FIELDS}
    shown["attributes"] = format_pairs(it.attributes)
    values = {name: form.raw(name) for name in shown} if form else shown
    return context.page(
        "identities/edit.html", it=it,
        who=format_name(it), values=values,
        revision=form.text("revision") if form else it.revision,
        owner_id=owner_id, owner=await context.name(owner_id),
        search=await search_person(context, "owner_id"),
    )  # fmt: skip


@router.post(IDENTITIES + "/{identity_id}/edit", operation_id="page_update_identity")
async def update(sent: Written, identity_id: IdentityId) -> Response:
    """Change an identity at the revision that was shown."""
    form = sent.form
    it = await identities.show_identity(sent.session, identity_id)
    async with sent.attempt():
        attributes = _attributes_of(form)
        gone: dict[str, str | None] = {name: None for name in it.attributes if name not in attributes}
        values = _values_of(form) | {"attributes": gone | attributes}
        owner_id = form.text("owner_id")
        body = validate(schemas.IdentityUpdate, values | ({"owner_id": owner_id} if owner_id else {}))
        await identities.update_identity(sent.change, identity_id, body, sent.shown)
    if sent.problems:
        return await show_edit(sent, identity_id)
    return redirect(f"{link('identity', identity_id)}?done=changed")


def _values_of(form: Form) -> dict[str, Any]:
    """The form's fields by the API's names; an empty field is null, except the user name."""
    return {name: form.text(name) or (None if name != "user_name" else "") for name in _FIELDS}


def _attributes_of(form: Form) -> dict[str, str]:
    wanted = "Enter one attribute on each line, each name once, such as department=finance."
    return parse_pairs(form.raw("attributes"), "/attributes", wanted)


async def _overview(context: PageContext, it: schemas.IdentityView) -> dict[str, Any]:
    """Agents, owner, groups and identity providers."""
    session, runtime = context.session, context.runtime
    agents = schemas.IdentityQuery(owner_id=[it.id], limit=PAGE_SIZE)
    member = GroupQuery(member_id=[it.id], limit=PAGE_SIZE)
    known = {}
    if context.may("identity_providers.read") and (it.links or it.provider_id):
        everything = IdentityProviderQuery(limit=200)
        found, _ = await identity_providers.list_providers(session, context.caller, everything, runtime)
        known = {one.id: one.name for one in found}
    return {
        "agents": await identities.list_identities(session, agents, runtime),
        "groups": GroupView.page(*await groups.list_groups(session, context.caller, member, runtime)),
        "names": await context.names([it.owner_id]),
        "providers": known,
    }


async def _access(context: PageContext, it: schemas.IdentityView) -> dict[str, Any]:
    """What the identity reaches, and why."""
    query = context.query(AccessQuery, limit=_SERVERS_A_PAGE)
    reached = await list_identity_access(context.session, context.snapshot, it.id, query, context.runtime)
    names = await context.names([*query.server_id, *(one.group_id for one in _reasons(reached))])
    only = [names[id] for id in query.server_id if id in names]
    return {"access": reached, "names": names, "only": only, **context.pager(reached.next_cursor)}


async def _tokens(context: PageContext, it: schemas.IdentityView) -> dict[str, Any]:
    query = context.query(TokenQuery, limit=PAGE_SIZE, identity_id=[it.id])
    found = await tokens.list_tokens(context.session, query, context.runtime)
    return {"tokens": found.items, **context.pager(found.next_cursor)}


async def _activity(context: PageContext, it: schemas.IdentityView) -> dict[str, Any]:
    query = context.query(AuditQuery, limit=PAGE_SIZE, actor_id=[it.id])
    found = await reading.list_events(context.session, context.runtime, query)
    return {"events": found.items, **context.pager(found.next_cursor)}


_TABS: dict[str, tuple[str, Permission, _Read]] = {
    "overview": ("Overview", Permission.IDENTITIES_READ, _overview),
    "access": ("Access", Permission.GRANTS_READ, _access),
    "tokens": ("Tokens", Permission.TOKENS_READ, _tokens),
    "activity": ("Activity", Permission.AUDIT_READ, _activity),
}


@router.get(IDENTITIES + "/{identity_id}", operation_id="page_show_identity")
async def show_identity(context: Reader, identity_id: IdentityId) -> Response:
    """Show a tab of an identity's page."""
    it = await identities.show_identity(context.session, identity_id)
    tab = "overview" if context.problems else context.param("tab", "overview")
    if tab not in _TABS:
        raise NotFound("There is no such page.")
    _, permission, read = _TABS[tab]
    authorize(context.caller, permission)
    session, runtime = context.session, context.runtime
    receipt = scheduled = None
    if it.status == "offboarded":
        latest = schemas.ReceiptQuery(identity_id=[it.id], limit=1)
        receipt = _first(await list_receipts(session, latest, runtime))
    else:
        planned = schemas.ScheduledOffboardingQuery(identity_id=[it.id], status=["pending"], limit=1)
        scheduled = _first(await list_schedules(session, planned, runtime))
    return context.page(
        "identities/one.html", it=it,
        who=format_name(it), tab=tab, receipt=receipt and receipt.id, scheduled=scheduled,
        tabs=[(key, words) for key, (words, needed, _) in _TABS.items() if context.caller.may(needed)],
        done=_IDENTITY_DONE,
        may_end=await _may_end(context, it), **await read(context, it),
    )  # fmt: skip


@router.post(IDENTITIES + "/{identity_id}/reinstate", operation_id="page_reinstate_identity")
async def reinstate(sent: Written, identity_id: IdentityId) -> Response:
    """Reinstate an identity."""
    async with sent.attempt():
        await identities.reinstate_identity(sent.change, identity_id, sent.shown)
    if sent.problems:
        return await show_identity(sent, identity_id)
    return redirect(f"{link('identity', identity_id)}?done=reinstated")


@router.get(IDENTITIES + "/{identity_id}/suspend", operation_id="page_suspend_identity")
async def show_suspend(context: Writer, identity_id: IdentityId) -> Response:
    """Show what stops when an identity is suspended."""
    it = await identities.show_identity(context.session, identity_id)
    stopping = schemas.IdentityQuery(owner_id=[identity_id], status=["active"], limit=PAGE_SIZE)
    return context.page(
        "identities/suspend.html", it=it,
        who=format_name(it),
        agents=await identities.list_identities(context.session, stopping, context.runtime),
    )  # fmt: skip


@router.post(IDENTITIES + "/{identity_id}/suspend", operation_id="page_do_suspend_identity")
async def suspend(sent: Written, identity_id: IdentityId) -> Response:
    """Suspend an identity."""
    async with sent.attempt():
        await identities.suspend_identity(sent.change, identity_id, sent.shown)
    if sent.problems:
        return await show_suspend(sent, identity_id)
    return redirect(f"{link('identity', identity_id)}?done=suspended")


async def _may_end(context: PageContext, it: schemas.IdentityView) -> bool:
    """Whether the viewer may suspend and offboard it. That the last owner must stay is only checked on the attempt."""
    try:
        await check_not_self(context.session, context.caller, it.id)
        await check_may_change(context.session, context.caller, it.id)
    except Forbidden:
        return False
    return True


def _reasons(reached: IdentityAccessView) -> list[AccessReason]:
    """All access reasons on a page of access."""
    return [reason for server in reached.items for reason in (server, *server.tools)]


def _first(found: Page[Any]) -> Any:
    return found.items[0] if found.items else None


@router.get(IDENTITIES + "/{identity_id}/links", operation_id="page_identity_links")
async def show_links(context: Granter, identity_id: IdentityId) -> Response:
    """Show the links to identity providers, and the form for another one."""
    it = await identities.show_identity(context.session, identity_id)
    found, _ = await identity_providers.list_providers(
        context.session, context.caller, IdentityProviderQuery(limit=_MAX_PROVIDERS), context.runtime
    )
    return context.page(
        "identities/links.html", it=it,
        who=format_name(it), typed=context.form,
        providers=[(format_id(IDENTITY_PROVIDER, one.id), one.name) for one in found],
        names={one.id: one.name for one in found},
    )  # fmt: skip


@router.post(IDENTITIES + "/{identity_id}/links", operation_id="page_set_identity_links")
async def set_links(sent: Granted, identity_id: IdentityId) -> Response:
    """Add the typed link, or remove the one whose button was pressed."""
    form = sent.form
    async with sent.attempt():
        it = await identities.show_identity(sent.session, identity_id)
        body = validate(schemas.IdentityUpdate, {"links": _wanted(it, form)})
        await identities.update_identity(sent.change, identity_id, body, sent.shown)
    if sent.problems:
        return await show_links(sent, identity_id)
    return redirect(f"{link('identity', identity_id)}?done=changed")


def _wanted(it: schemas.IdentityView, form: Form) -> list[dict[str, str]]:
    """The complete new list of links."""
    removed = form.text("remove")
    kept = [link.model_dump(mode="json") for number, link in enumerate(it.links) if str(number) != removed]
    if removed:
        return kept
    return [*kept, {name: form.text(name) for name in ("provider_id", "kind", "value")}]


@router.get(INVITATIONS, operation_id="page_list_invitations")
async def show_invitations(context: Reader) -> Response:
    """List invitations, newest first."""
    query = context.query(InvitationQuery, limit=PAGE_SIZE)
    found = await invitations.list_invitations(context.session, query, context.runtime)
    return context.page(
        "invitations/list.html", items=found.items, query=query,
        names=await context.names([one.identity_id for one in found.items]),
        done=_INVITATION_DONE, **context.pager(found.next_cursor),
    )  # fmt: skip


@router.get(f"{INVITATIONS}/new", operation_id="page_new_invitation")
async def show_invite(context: Writer) -> Response:
    """Show the form that invites a new or an existing person."""
    typed = context.form or Form([("identity_id", context.param("identity_id"))])
    who = await context.name(typed.optional_id("identity_id", IDENTITY))
    return context.page(
        "invitations/new.html", typed=typed, who=who,
        providers=[
            (format_id(IDENTITY_PROVIDER, one.id), one.name)
            for one in await providers.browser_providers(context.session)
        ],
    )  # fmt: skip


@router.post(f"{INVITATIONS}/new", operation_id="page_create_invitation")
async def invite(sent: Written) -> Response:
    """Create an invitation and show its link, which only this response contains."""
    async with sent.attempt():
        body = validate(InvitationCreate, _invited(sent.form))
        made = await invitations.create_invitation(sent.change, sent.runtime.peppers, body)
    if sent.problems:
        return await show_invite(sent)
    it = InvitationView.from_row(made.reading.row, made.reading.status)
    return sent.page(
        "invitations/made.html", it=it, url=f"{sent.runtime.public_url}{PAGE}/{made.secret}",
        names=await sent.names([it.identity_id]),
    )  # fmt: skip


@router.get(INVITATIONS + "/{invitation_id}", operation_id="page_show_invitation")
async def show_invitation(context: Reader, invitation_id: InvitationId) -> Response:
    """Show an invitation with the account that claimed it."""
    reading = await invitations.require_invitation(context.session, invitation_id)
    it = InvitationView.from_row(reading.row, reading.status)
    provider = await providers.find(context.session, it.provider_id, ended=True)
    return context.page(
        "invitations/show.html", it=it,
        path=f"{INVITATIONS}/{format_id(INVITATION, it.id)}", provider=provider.name if provider else "a provider",
        names=await context.names([it.identity_id]),
    )  # fmt: skip


@router.post(INVITATIONS + "/{invitation_id}/confirm", operation_id="page_confirm_invitation")
async def confirm(sent: Written, invitation_id: InvitationId) -> Response:
    """Link the account that claimed the invitation to the person."""
    async with sent.attempt():
        await invitations.confirm_invitation(sent.change, invitation_id, sent.shown)
    if sent.problems:
        return await show_invitation(sent, invitation_id)
    return redirect(f"{INVITATIONS}?done=confirmed")


@router.post(INVITATIONS + "/{invitation_id}/revoke", operation_id="page_revoke_invitation")
async def revoke(sent: Written, invitation_id: InvitationId) -> Response:
    """Revoke an invitation."""
    async with sent.attempt():
        await invitations.revoke_invitation(sent.change, invitation_id, sent.shown)
    if sent.problems:
        return await show_invitation(sent, invitation_id)
    return redirect(f"{INVITATIONS}?done=revoked")


def _invited(form: Form) -> dict[str, Any]:
    """The form's fields by the API's names."""
    asked: dict[str, Any] = {
        "provider_id": form.text("provider_id"),
        form.text("by", "email"): form.text("value"),
    }
    if form.text("identity_id"):
        return asked | {"identity_id": form.text("identity_id")}
    person = {name: form.text(name) or None for name in ("user_name", "display_name")}
    return asked | {"person": person}
