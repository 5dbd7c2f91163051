"""Servers: the list, the forms that register and change them, the page of each by tabs, and its credentials."""

import re
import unicodedata
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import link
from app.adapters.console.forms import Form, format_pairs, parse_pairs, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.principals import find_identity_id, require_group
from app.db.engine import commit
from app.domain.errors import Invalid
from app.features.grants import service as grants
from app.features.grants.schemas import GrantQuery, GrantView
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery
from app.features.servers import schemas, service
from app.features.servers.credentials import delete_credential, list_credentials, put_credential
from app.features.servers.sync import CurrentSyncs
from app.features.tools.schemas import ToolQuery, ToolView
from app.features.tools.service import list_tools
from app.http.authorization import Permission
from app.http.etags import Precondition
from app.lib.ids import IDENTITY, IdentityId, ServerId
from app.models.servers import Server

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_MAX_SLUG_LENGTH = 63
_SUGGESTED = 100
_FIELDS = (
    "name", "slug", "transport", "url", "command", "env_names", "owner_group", "new_tools", "keep_arguments",
    # A refused form stays based on the revision that its author saw.
    "revision",
    "kind", "header_name", "token_url", "client_id", "auth_method", "scope", "resource", "audience",
)  # fmt: skip
_AREAS = ("description", "labels", "args")
LIST = "/console/servers"
KINDS = {
    "bearer": "Bearer token",
    "header": "Header",
    "oauth_client_credentials": "OAuth client credentials",
    "env": "Environment variables",
    "none": "None: calls carry no credential",
}
HTTP_KINDS = ("bearer", "header", "oauth_client_credentials", "none")
STDIO_KINDS = ("env", "none")
_OPTIONAL = ("scope", "resource", "audience")
# The form has one field for all secrets, and its "name" field is the server's name.
_FIELD_OF = {"/name": "/header_name", "/token": "/secret", "/value": "/secret", "/client_secret": "/secret"}
_TABS = {"": "Overview", "tools": "Tools", "access": "Who has access", "credentials": "Credentials"}
_PREVIEW = 10
_REFRESH_S = "2"
_SOME = 5
Reader = Annotated[PageContext, may_open(Permission.SERVERS_READ)]
Writer = Annotated[PageContext, may_open(Permission.SERVERS_WRITE)]
Written = Annotated[Submission, may_submit(Permission.SERVERS_WRITE)]
_DONE = {
    "registered": "The server was registered.",
    "saved": "The changes are saved.",
    "synced": "The tools were synced.",
    "disabled": "The server was disabled. Calls to it are refused.",
    "enabled": "The server was enabled.",
    "instructions": "The instructions were approved. Clients with access to the whole server receive them.",
    "credential_set": "The credential was stored. You can replace it, but not read it.",
    "credential_removed": "The credential was removed.",
    "deleted": "The server was deleted. No token reaches it, and its credentials are destroyed.",
    "approved": "The tool was approved. Callers with access can call it.",
}


def read_credential(form: Form, env_names: list[str]) -> schemas.Credential:
    """Read the typed credential. Raises ``Invalid`` with the form's field names."""
    kind, secret = form.text("kind"), form.text("secret")
    if kind == "none":
        return schemas.NoCredential(kind="none")
    if kind == "bearer":
        return validate(schemas.BearerCredential, {"kind": kind, "token": secret}, _FIELD_OF)
    if kind == "header":
        return validate(
            schemas.HeaderCredential,
            {"kind": kind, "name": form.text("header_name"), "value": secret},
            _FIELD_OF,
        )
    if kind == "env":
        values = {name: form.raw(f"env.{name}") for name in env_names}
        return validate(schemas.EnvCredential, {"kind": kind, "variables": values}, _FIELD_OF)
    if kind == "oauth_client_credentials":
        typed = {name: form.text(name) for name in ("kind", "token_url", "client_id", "auth_method")}
        more = {name: form.text(name) for name in _OPTIONAL if form.text(name)}
        return validate(schemas.OAuthClientCredential, {**typed, "client_secret": secret, **more}, _FIELD_OF)
    raise Invalid.field("/kind", "required", "Choose the kind of credential.")


async def find_holder(context: PageContext, user_name: str) -> UUID | None:
    """The identity that a credential is for; None without a name, for all other callers. Raises ``Invalid``."""
    if not user_name:
        return None
    id = await find_identity_id(context, user_name)
    if id is None:
        raise Invalid.field("/identity", "unknown_identity", "There is no identity with this user name.")
    return id


async def _credentials(context: PageContext, server: schemas.ServerView) -> dict[str, Any]:
    """Read the tab with the server's own credential and those of identities."""
    query = context.query(schemas.CredentialQuery, limit=25)
    found = await list_credentials(context.session, context.caller, server.id, query, context.runtime)
    # The list's next page has another address than the response to a form.
    pager = {"more": None, "first": None} if context.is_sent else context.pager(found.next_cursor)
    return {
        "credentials": found.items,
        "kinds": [
            (kind, KINDS[kind]) for kind in (STDIO_KINDS if server.transport == "stdio" else HTTP_KINDS)
        ],
        "words": KINDS,
        **pager,
    }


@router.get(LIST, operation_id="page_list_servers")
async def list_all(context: Reader) -> Response:
    """List servers, newest first."""
    query = context.query(schemas.ServerQuery, limit=25)
    found = await service.list_servers(context.session, context.caller, query, context.runtime)
    return await context.page("servers/list.html", found, names={}, query=query, done=_DONE)


@router.get(f"{LIST}/new", operation_id="page_new_server")
async def new(context: Writer) -> Response:
    """Show the form that registers a server."""
    return await _show_form(context)


@router.post(f"{LIST}/new/register", operation_id="page_register_server")
async def register(sent: Written, syncs: CurrentSyncs) -> Response:
    """Register a server and sync its tools. If the sync fails, the server stays and its page shows the error."""
    form = sent.form
    async with sent.attempt():
        created = validate(schemas.ServerCreate, await _read_create(sent))
        credential = read_credential(form, created.env_names or []) if form.text("kind") else None
        row = await service.create_server(sent.change, sent.runtime, created)
        if credential is not None:
            await put_credential(sent.change, sent.runtime, row.id, None, credential, Precondition(None))
    if sent.problems:
        return await _show_form(sent)
    await commit(sent.session)
    await syncs.sync(sent.runtime, row.id, sent.caller, sent.request_id)
    return redirect(f"{link('server', row.id)}?done=registered")


@router.get(f"{LIST}/{{server_id}}/edit", operation_id="page_edit_server")
async def edit(context: Writer, server_id: ServerId) -> Response:
    """Show the form that changes a server."""
    row = await service.get_server(context.session, context.caller, server_id)
    return await _show_form(context, row)


@router.post(f"{LIST}/{{server_id}}/edit/save", operation_id="page_save_server")
@on_refusal(edit)
async def save(sent: Written, server_id: ServerId) -> Response:
    """Save the changed fields at the revision that was shown."""
    patch = await _read_patch(sent, await read_shown(sent, server_id))
    await service.update_server(sent.change, sent.runtime, server_id, patch, sent.shown)
    return redirect(f"{link('server', server_id)}?done=saved")


async def _read_create(sent: Submission) -> dict[str, Any]:
    form = sent.form
    transport = form.text("transport") or "streamable_http"
    name = form.text("name")
    return {
        "slug": form.text("slug") or slug_of(name),
        "name": name or None,
        "labels": _labels(form.raw("labels")),
        "transport": transport,
        **_location(form, transport),
        **await _settings(sent),
    }


async def _read_patch(sent: Submission, row: Server) -> schemas.ServerPatch:
    """The fields that the form changed. Arguments and labels that lines of text cannot express stay as they are."""
    form = sent.form
    shown = await _typed_of(sent, row)
    values = {"name": form.text("name"), **_location(form, row.transport)}
    if form.raw("labels") != shown["labels"]:
        labels = _labels(form.raw("labels"))
        values["labels"] = {**dict.fromkeys(row.labels), **labels}
    if form.raw("args") == shown["args"]:
        values.pop("args", None)
    settings = await _settings(sent, known_group=shown["owner_group"])
    return validate(schemas.ServerPatch, values | settings)


def _location(form: Form, transport: str) -> dict[str, Any]:
    if transport != "stdio":
        return {"url": form.text("url")}
    return {
        "command": form.text("command"),
        "args": [line for line in form.raw("args").split("\n") if line],
        "env_names": form.text("env_names").split(),
    }


async def _settings(sent: Submission, *, known_group: str = "") -> dict[str, Any]:
    form = sent.form
    settings: dict[str, Any] = {
        "description": form.raw("description").strip() or None,
        "new_tools": form.text("new_tools") or "quarantine",
        "keep_arguments": form.text("keep_arguments") or "approvals",
        "requestable": form.flag("requestable"),
    }
    group = form.text("owner_group")
    if group != known_group:
        settings["owner_group_id"] = await require_group(sent, group, "/owner_group_id") if group else None
    return settings


def slug_of(name: str) -> str:
    """Derive a slug from a server's name; it can be empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:_MAX_SLUG_LENGTH].rstrip("-")


def _labels(text: str) -> dict[str, str]:
    return parse_pairs(text, "/labels", "Enter each label once, on a line of its own, as key=value.")


def _typed(form: Form) -> dict[str, Any]:
    """The typed fields, without secrets."""
    typed: dict[str, Any] = {name: form.text(name) for name in _FIELDS}
    typed |= {name: form.raw(name) for name in _AREAS} | {"requestable": form.flag("requestable")}
    return typed | {"transport": typed["transport"] or "streamable_http"}


async def _typed_of(context: PageContext, row: Server) -> dict[str, Any]:
    """The form's fields for an existing server."""
    named: dict[str, Any] = row.model_dump()
    return _typed(Form()) | {
        **{name: named[name] or "" for name in ("name", "url", "command", "description")},
        **{name: named[name] for name in ("transport", "new_tools", "keep_arguments", "requestable")},
        "labels": format_pairs(row.labels),
        "args": "\n".join(row.args or []),
        "env_names": " ".join(row.env_names or []),
        "owner_group": await context.name(row.owner_group_id, ""),
        "revision": str(row.revision),
    }


async def _show_form(context: PageContext, server: Server | None = None) -> Response:
    """Show the form with what was typed, or else with the server."""
    typed = _typed(context.form)
    if server is not None and not context.is_sent:
        typed = await _typed_of(context, server)
    query = GroupQuery(sort="name", limit=_SUGGESTED)
    suggested, _ = await groups.list_groups(context.session, context.caller, query, context.runtime)
    return await context.page(
        "servers/form.html",
        typed=typed, server=server, base=LIST if server is None else link("server", server.id),
        groups=[one.name for one in suggested],
        kinds=[(kind, KINDS[kind]) for kind in HTTP_KINDS if kind != "none"],
        runs_commands=bool(context.runtime.commands),
    )  # fmt: skip


@router.get(f"{LIST}/{{server_id}}", operation_id="page_get_server")
async def show_one(context: Reader, server_id: ServerId) -> Response:
    """Show a tab of a server's page."""
    server = await _read_server(context, server_id)
    tab = "credentials" if context.problems else context.param("tab")
    tab = tab if tab in _TABS else ""
    read_tab = {"": _overview, "tools": _tools, "access": _access, "credentials": _credentials}[tab]
    answer = await context.page(
        "servers/detail.html",
        server=server, tab=tab, tabs=_TABS, done=_DONE,
        gateway_url=f"{context.runtime.public_url}/mcp/{server.slug}", **await read_tab(context, server),
    )  # fmt: skip
    if server.sync.state == "running" and tab == "":
        # Reloads the page without a script; tabs with forms are not reloaded.
        answer.headers["Refresh"] = _REFRESH_S
    return answer


async def _read_server(context: PageContext, server_id: UUID) -> schemas.ServerView:
    row = await service.get_server(context.session, context.caller, server_id)
    return await service.show(context.session, row)


async def _overview(context: PageContext, server: schemas.ServerView) -> dict[str, Any]:
    waiting = await _some_tools(context, server, state=["quarantined"])
    active = await _some_tools(context, server, state=["active"], sort="name")
    said = None
    if server.instructions == "pending":
        row = await service.get_server(context.session, context.caller, server.id)
        said = schemas.ServerInstructions.from_row(row)
    return {"waiting": waiting, "active": active, "said": said}


async def _some_tools(context: PageContext, server: schemas.ServerView, **filters: Any) -> list[ToolView]:
    query = ToolQuery(server_id=[server.id], limit=_PREVIEW, **filters)
    return (await list_tools(context.session, context.caller, query, context.runtime)).items


async def _tools(context: PageContext, server: schemas.ServerView) -> dict[str, Any]:
    query = context.query(ToolQuery, limit=25, server_id=[server.id])
    found = await list_tools(context.session, context.caller, query, context.runtime)
    return {"query": query, "tools": found.items, **context.pager(found.next_cursor)}


async def _access(context: PageContext, server: schemas.ServerView) -> dict[str, Any]:
    if not context.may("grants.read"):
        return {"grants": None}
    query = context.query(GrantQuery, limit=25, server_id=[server.id], status=["active", "scheduled"])
    listed = await grants.list_grants(context.session, context.caller, query, context.runtime)
    found = GrantView.page(*listed, context.now)
    names = await context.names(*(grant.principal.id for grant in found.items))
    return {"grants": found.items, "names": names, **context.pager(found.next_cursor)}


async def read_shown(sent: Submission, server_id: UUID) -> Server:
    """Read the server at the revision that the form showed. Raises ``NotFound`` and ``PreconditionFailed``."""
    row = await service.get_server(sent.session, sent.caller, server_id)
    sent.shown.check(row.revision)
    return row


@router.post(f"{LIST}/{{server_id}}/sync", operation_id="page_sync_server")
async def sync(sent: Written, server_id: ServerId, syncs: CurrentSyncs) -> Response:
    """Sync the server's tools."""
    row = await service.get_server(sent.session, sent.caller, server_id)
    # Releases the database connection, since a sync can take most of a minute.
    await commit(sent.session)
    ended = await syncs.sync(sent.runtime, server_id, sent.caller, sent.request_id)
    await sent.session.refresh(row)
    return redirect(link("server", server_id) + ("?done=synced" if ended and row.sync_state == "ok" else ""))


@router.get(f"{LIST}/{{server_id}}/disable", operation_id="page_confirm_disable_server")
async def ask_disable(context: Writer, server_id: ServerId) -> Response:
    """Show what stops when a server is disabled."""
    return await context.page("servers/disable.html", server=await _read_server(context, server_id))


@router.post(f"{LIST}/{{server_id}}/disable/do", operation_id="page_disable_server")
async def disable(sent: Written, server_id: ServerId) -> Response:
    """Disable a server immediately."""
    await _set_status(sent, server_id, "disabled")
    return redirect(f"{link('server', server_id)}?done=disabled")


@router.post(f"{LIST}/{{server_id}}/enable", operation_id="page_enable_server")
async def enable(sent: Written, server_id: ServerId) -> Response:
    """Enable a server."""
    await _set_status(sent, server_id, "active")
    return redirect(f"{link('server', server_id)}?done=enabled")


@router.get(f"{LIST}/{{server_id}}/delete", operation_id="page_confirm_delete_server")
async def ask_delete(context: Writer, server_id: ServerId) -> Response:
    """Show what ends with a server."""
    server = await _read_server(context, server_id)
    query = GrantQuery(server_id=[server_id], limit=_SOME, status=["active", "scheduled"])
    reaching, following = await grants.list_grants(context.session, context.caller, query, context.runtime)
    number = f"more than {_SOME}" if following else str(len(reaching))
    return await context.page("servers/delete.html", server=server, grants=number)


@router.post(f"{LIST}/{{server_id}}/delete/do", operation_id="page_delete_server")
async def delete(sent: Written, server_id: ServerId) -> Response:
    """Delete a server."""
    await service.end_server(sent.change, server_id, sent.shown)
    return redirect(f"{LIST}?done=deleted")


@router.post(f"{LIST}/{{server_id}}/instructions", operation_id="page_approve_instructions")
async def approve_instructions(sent: Written, server_id: ServerId) -> Response:
    """Approve the server's instructions, exactly as they were shown."""
    await service.approve_instructions(sent.change, server_id, sent.form.text("digest"), sent.shown)
    return redirect(f"{link('server', server_id)}?done=instructions")


async def _set_status(sent: Submission, server_id: UUID, status: schemas.ServerStatus) -> None:
    patch = schemas.ServerPatch(status=status)
    await service.update_server(sent.change, sent.runtime, server_id, patch, sent.shown)


@router.post(f"{LIST}/{{server_id}}/credentials", operation_id="page_set_credential")
async def set_one(sent: Written, server_id: ServerId, syncs: CurrentSyncs) -> Response:
    """Store a credential, which is never shown again, not even in a refused form."""
    form = sent.form
    async with sent.attempt():
        row = await read_shown(sent, server_id)
        credential = read_credential(form, row.env_names or [])
        holder = await find_holder(sent, form.text("identity"))
        await put_credential(sent.change, sent.runtime, server_id, holder, credential, sent.shown)
    if sent.problems:
        return await show_one(sent, server_id)
    if not form.flag("sync"):
        return redirect(f"{link('server', server_id)}?tab=credentials&done=credential_set")
    await commit(sent.session)
    await syncs.sync(sent.runtime, server_id, sent.caller, sent.request_id)
    return redirect(f"{link('server', server_id)}?done=credential_set")


@router.get(f"{LIST}/{{server_id}}/credentials/remove", operation_id="page_confirm_remove_credential")
async def ask_remove(
    context: Writer, server_id: ServerId, identity_id: Annotated[IdentityId | None, Query()] = None
) -> Response:
    """Show what removing a credential means for calls."""
    server = await _read_server(context, server_id)
    return await context.page("servers/remove_credential.html", server=server, identity_id=identity_id)


@router.post(f"{LIST}/{{server_id}}/credentials/remove/do", operation_id="page_remove_credential")
async def remove(sent: Written, server_id: ServerId) -> Response:
    """Remove a credential."""
    holder = sent.form.optional_id("identity_id", IDENTITY)
    await delete_credential(sent.change, server_id, holder, sent.shown)
    return redirect(f"{link('server', server_id)}?tab=credentials&done=credential_removed")
