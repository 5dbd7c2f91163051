"""People and agents: the list, the forms, the page of one by subjects, links to identity providers, and invitations."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import link
from app.adapters.console.forms import Form, format_pairs, parse_pairs, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.principals import IDENTITIES, PAGE_SIZE, search_person
from app.domain.errors import Forbidden, NotFound
from app.features.access.reach import AccessQuery, list_identity_access
from app.features.audit import reading
from app.features.audit.schemas import AuditQuery
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery, GroupView
from app.features.identities import schemas
from app.features.identities import service as identities
from app.features.identities.role_checks import check_may_change, check_not_self
from app.features.identity_providers import queries as providers
from app.features.identity_providers import service as identity_providers
from app.features.identity_providers.schemas import IdentityProviderQuery, Provider
from app.features.invitations import service as invitations
from app.features.invitations.schemas import PAGE, InvitationCreate, InvitationQuery, InvitationView
from app.features.offboarding.receipts import list_receipts
from app.features.offboarding.schedule import list_schedules
from app.features.offboarding.schemas import ReceiptQuery, ScheduledOffboardingQuery, ScheduledOffboardingView
from app.features.tokens import service as tokens
from app.features.tokens.schemas import TokenQuery
from app.http.authorization import Permission, authorize
from app.lib.ids import IDENTITY, IDENTITY_PROVIDER, IdentityId, InvitationId, format_id
from app.models.identity_providers import IdentityProvider

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
    return await context.page("identities/list.html", found, query=query, done=_DONE)


@router.get(f"{IDENTITIES}/new", operation_id="page_new_identity")
async def show_new(context: Writer) -> Response:
    """Show the form for a person, or for an agent once its owner is chosen."""
    owner_id = context.typed.optional_id("owner_id", IDENTITY)
    kind = "agent" if owner_id or context.typed.text("kind") == "agent" else "person"
    owner = await context.name(owner_id)
    search = await search_person(context, "owner_id")
    return await context.page("identities/new.html", kind=kind, owner_id=owner_id, owner=owner, search=search)


@router.post(f"{IDENTITIES}/new", operation_id="page_create_identity")
@on_refusal(show_new)
async def create(sent: Written) -> Response:
    """Create a person or an agent."""
    form = sent.form
    values = form.values(*_FIELDS) | {"kind": form.text("kind"), "owner_id": form.text("owner_id") or None}
    body = validate(schemas.IdentityCreate, values | {"attributes": _attributes_of(form)})
    made = await identities.create_identity(sent.change, body)
    return redirect(f"{link('identity', made.id)}?done=made")


@router.get(IDENTITIES + "/{identity_id}/edit", operation_id="page_edit_identity")
async def show_edit(context: Writer, identity_id: IdentityId) -> Response:
    """Show the form that changes an identity."""
    it = await identities.show_identity(context.session, identity_id)
    owner_id = None
    if it.kind == "agent":
        owner_id = context.typed.optional_id("owner_id", IDENTITY) or it.owner_id
    values = {name: context.form.raw(name, getattr(it, name) or "") for name in _FIELDS}
    values["attributes"] = context.form.raw("attributes", format_pairs(it.attributes))
    search = await search_person(context, "owner_id")
    revision = context.form.text("revision", str(it.revision))
    return await context.page(
        "identities/edit.html", it=it, values=values, revision=revision, owner_id=owner_id, search=search
    )


@router.post(IDENTITIES + "/{identity_id}/edit", operation_id="page_update_identity")
@on_refusal(show_edit)
async def update(sent: Written, identity_id: IdentityId) -> Response:
    """Change an identity at the revision that was shown."""
    form = sent.form
    it = await identities.show_identity(sent.session, identity_id)
    values = form.values(*_FIELDS) | {"attributes": dict.fromkeys(it.attributes) | _attributes_of(form)}
    if form.text("owner_id"):
        values["owner_id"] = form.text("owner_id")
    body = validate(schemas.IdentityUpdate, values)
    await identities.update_identity(sent.change, identity_id, body, sent.shown)
    return redirect(f"{link('identity', identity_id)}?done=changed")


def _attributes_of(form: Form) -> dict[str, str]:
    wanted = "Enter one attribute on each line, each name once, such as department=finance."
    return parse_pairs(form.raw("attributes"), "/attributes", wanted)


async def _overview(context: PageContext, it: schemas.IdentityView) -> dict[str, Any]:
    """Agents, groups and identity providers."""
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
        "providers": known,
    }


async def _access(context: PageContext, it: schemas.IdentityView) -> dict[str, Any]:
    """What the identity reaches, and why."""
    query = context.query(AccessQuery, limit=_SERVERS_A_PAGE)
    reached = await list_identity_access(context.session, context.snapshot, it.id, query, context.runtime)
    named_groups = [one.group_id for server in reached.items for one in (server, *server.tools)]
    names = await context.names(*query.server_id, *named_groups)
    return {"access": reached, "names": names, "query": query, **context.pager(reached.next_cursor)}


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
    receipts, planned = list[UUID](), list[ScheduledOffboardingView]()
    if it.status == "offboarded":
        latest = ReceiptQuery(identity_id=[it.id], limit=1)
        receipts = [one.id for one in (await list_receipts(session, latest, runtime)).items]
    else:
        pending = ScheduledOffboardingQuery(identity_id=[it.id], status=["pending"], limit=1)
        planned = (await list_schedules(session, pending, runtime)).items
    may_end = False
    with suppress(Forbidden):
        await check_not_self(session, context.caller, it.id)
        # That the last owner must stay is only checked on the attempt.
        await check_may_change(session, context.caller, it.id)
        may_end = True
    tabs = [(key, words) for key, (words, needed, _) in _TABS.items() if context.caller.may(needed)]
    return await context.page(
        "identities/one.html",
        it=it,
        done=_IDENTITY_DONE,
        tab=tab,
        tabs=tabs,
        receipts=receipts,
        planned=planned,
        may_end=may_end,
        **await read(context, it),
    )


@router.post(IDENTITIES + "/{identity_id}/reinstate", operation_id="page_reinstate_identity")
@on_refusal(show_identity)
async def reinstate(sent: Written, identity_id: IdentityId) -> Response:
    """Reinstate an identity."""
    await identities.reinstate_identity(sent.change, identity_id, sent.shown)
    return redirect(f"{link('identity', identity_id)}?done=reinstated")


@router.get(IDENTITIES + "/{identity_id}/suspend", operation_id="page_suspend_identity")
async def show_suspend(context: Writer, identity_id: IdentityId) -> Response:
    """Show what stops when an identity is suspended."""
    it = await identities.show_identity(context.session, identity_id)
    stopping = schemas.IdentityQuery(owner_id=[identity_id], status=["active"], limit=PAGE_SIZE)
    agents = await identities.list_identities(context.session, stopping, context.runtime)
    return await context.page("identities/suspend.html", it=it, agents=agents)


@router.post(IDENTITIES + "/{identity_id}/suspend", operation_id="page_do_suspend_identity")
@on_refusal(show_suspend)
async def suspend(sent: Written, identity_id: IdentityId) -> Response:
    """Suspend an identity."""
    await identities.suspend_identity(sent.change, identity_id, sent.shown)
    return redirect(f"{link('identity', identity_id)}?done=suspended")


@router.get(IDENTITIES + "/{identity_id}/links", operation_id="page_identity_links")
async def show_links(context: Granter, identity_id: IdentityId) -> Response:
    """Show the links to identity providers, and the form for another one."""
    it = await identities.show_identity(context.session, identity_id)
    found, _ = await identity_providers.list_providers(
        context.session, context.caller, IdentityProviderQuery(limit=_MAX_PROVIDERS), context.runtime
    )
    names = {one.id: one.name for one in found}
    return await context.page("identities/links.html", it=it, names=names, providers=_options(found))


@router.post(IDENTITIES + "/{identity_id}/links", operation_id="page_set_identity_links")
@on_refusal(show_links)
async def set_links(sent: Granted, identity_id: IdentityId) -> Response:
    """Add the typed link, or remove the one whose button was pressed."""
    form = sent.form
    it = await identities.show_identity(sent.session, identity_id)
    removed = form.text("remove")
    links = [one.model_dump(mode="json") for number, one in enumerate(it.links) if str(number) != removed]
    if not removed:
        links.append({name: form.text(name) for name in ("provider_id", "kind", "value")})
    body = validate(schemas.IdentityUpdate, {"links": links})
    await identities.update_identity(sent.change, identity_id, body, sent.shown)
    return redirect(f"{link('identity', identity_id)}?done=changed")


def _options(found: Sequence[IdentityProvider | Provider]) -> list[tuple[str, str]]:
    """Providers as the options of a form."""
    return [(format_id(IDENTITY_PROVIDER, one.id), one.name) for one in found]


@router.get(INVITATIONS, operation_id="page_list_invitations")
async def show_invitations(context: Reader) -> Response:
    """List invitations, newest first."""
    query = context.query(InvitationQuery, limit=PAGE_SIZE)
    found = await invitations.list_invitations(context.session, query, context.runtime)
    return await context.page("invitations/list.html", found, query=query, done=_INVITATION_DONE)


@router.get(f"{INVITATIONS}/new", operation_id="page_new_invitation")
async def show_invite(context: Writer) -> Response:
    """Show the form that invites a new or an existing person."""
    who = await context.name(context.typed.optional_id("identity_id", IDENTITY))
    found = _options(await providers.browser_providers(context.session))
    return await context.page("invitations/new.html", typed=context.typed, who=who, providers=found)


@router.post(f"{INVITATIONS}/new", operation_id="page_create_invitation")
@on_refusal(show_invite)
async def invite(sent: Written) -> Response:
    """Create an invitation and show its link, which only this response contains."""
    form = sent.form
    asked: dict[str, Any] = {"provider_id": form.text("provider_id")}
    asked[form.text("by", "email")] = form.text("value")
    if form.text("identity_id"):
        asked["identity_id"] = form.text("identity_id")
    else:
        asked["person"] = {name: form.text(name) or None for name in ("user_name", "display_name")}
    body = validate(InvitationCreate, asked)
    made = await invitations.create_invitation(sent.change, sent.runtime.peppers, body)
    it = InvitationView.from_row(made.reading.row, made.reading.status)
    url = f"{sent.runtime.public_url}{PAGE}/{made.secret}"
    return await sent.page("invitations/made.html", it=it, url=url)


@router.get(INVITATIONS + "/{invitation_id}", operation_id="page_show_invitation")
async def show_invitation(context: Reader, invitation_id: InvitationId) -> Response:
    """Show an invitation with the account that claimed it."""
    reading = await invitations.require_invitation(context.session, invitation_id)
    it = InvitationView.from_row(reading.row, reading.status)
    provider = await providers.find(context.session, it.provider_id, ended=True)
    return await context.page("invitations/show.html", it=it, provider=provider)


@router.post(INVITATIONS + "/{invitation_id}/confirm", operation_id="page_confirm_invitation")
@on_refusal(show_invitation)
async def confirm(sent: Written, invitation_id: InvitationId) -> Response:
    """Link the account that claimed the invitation to the person."""
    await invitations.confirm_invitation(sent.change, invitation_id, sent.shown)
    return redirect(f"{INVITATIONS}?done=confirmed")


@router.post(INVITATIONS + "/{invitation_id}/revoke", operation_id="page_revoke_invitation")
@on_refusal(show_invitation)
async def revoke(sent: Written, invitation_id: InvitationId) -> Response:
    """Revoke an invitation."""
    await invitations.revoke_invitation(sent.change, invitation_id, sent.shown)
    return redirect(f"{INVITATIONS}?done=revoked")
