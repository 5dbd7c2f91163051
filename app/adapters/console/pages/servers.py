"""Servers: the list, the page of each by tabs, its upstream credentials, and the actions on a server."""

from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import (
    Form,
    Model,
    ShownRevision,
    attempt_change,
    first_page,
    next_page,
    read_query,
    validate,
)
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.db.engine import commit
from app.domain.errors import Invalid, Malformed
from app.features.audit.names import names_of
from app.features.grants import service as grants
from app.features.grants.schemas import GrantQuery, GrantView
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityQuery
from app.features.servers import instructions, service
from app.features.servers import routes as servers
from app.features.servers.credential_schemas import (
    BearerCredential,
    Credential,
    CredentialQuery,
    EnvCredential,
    HeaderCredential,
    NoCredential,
    OAuthClientCredential,
)
from app.features.servers.credentials import delete_credential, put_credential
from app.features.servers.places import PlaceRules
from app.features.servers.schemas import ServerPatch, ServerQuery, ServerStatus, ServerView
from app.features.tools import routes as tools
from app.features.tools.requested_syncs import CurrentSyncs
from app.features.tools.schemas import ToolQuery, ToolView
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import IDENTITY, SERVER, IdentityId, ServerId, format_id, parse_id
from app.models.servers import Server

LIST = "/console/servers"


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The arguments of the functions that read a tab of a server's page."""

    request: Request
    session: AsyncSession
    runtime: Runtime
    viewer: Viewer
    server: ServerView


def path_of(server_id: UUID) -> str:
    """The path of a server's page."""
    return f"{LIST}/{format_id(SERVER, server_id)}"


def health(server: ServerView) -> tuple[str, str]:
    """A server's health: a state for the badge, and its description."""
    if server.status == "disabled":
        return "disabled", "disabled"
    if server.sync.state == "running":
        return "running", "sync in progress"
    if server.sync.state == "never":
        return "never", "never synced"
    if server.sync.state == "error":
        return "error", "last sync failed"
    return ("warn", "some tools left out") if server.sync.error else ("ok", "healthy")


def why_waiting(tool: ToolView) -> str:
    """Why a tool is quarantined; empty if it is not."""
    if tool.state != "quarantined":
        return ""
    if tool.approved_digest is None:
        return "new"
    return "held manually" if tool.approved_digest == tool.definition_digest else "definition changed"


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


def read_credential(form: Form, env_names: list[str]) -> Credential:
    """Read the typed credential. Raises ``Invalid`` with the form's field names."""
    kind, secret = form.text("kind"), form.text("secret")
    if kind == "none":
        return NoCredential(kind="none")
    if kind == "bearer":
        return _read(BearerCredential, {"kind": kind, "token": secret})
    if kind == "header":
        return _read(HeaderCredential, {"kind": kind, "name": form.text("header_name"), "value": secret})
    if kind == "env":
        values = {name: form.raw(f"env.{name}") for name in env_names}
        return _read(EnvCredential, {"kind": kind, "variables": values})
    if kind == "oauth_client_credentials":
        typed = {name: form.text(name) for name in ("kind", "token_url", "client_id", "auth_method")}
        more = {name: form.text(name) for name in _OPTIONAL if form.text(name)}
        return _read(OAuthClientCredential, {**typed, "client_secret": secret, **more})
    raise Invalid.field("/kind", "required", "Choose the kind of credential.")


def _read(model: type[Model], typed: dict[str, Any]) -> Model:
    try:
        return validate(model, typed)
    except Invalid as invalid:
        errors = [replace(one, pointer=_FIELD_OF.get(one.pointer, one.pointer)) for one in invalid.errors]
        raise Invalid(invalid.detail, errors=errors) from None


async def find_holder(session: AsyncSession, runtime: Runtime, user_name: str) -> UUID | None:
    """The identity that a credential is for; None without a name, for all other callers. Raises ``Invalid``."""
    if not user_name:
        return None
    query = validate(IdentityQuery, {"user_name": [user_name], "limit": 1})
    found = (await identities.list_identities(query, session, runtime)).items
    if not found:
        raise Invalid.field("/identity", "unknown_identity", "There is no identity with this user name.")
    return found[0].id


async def read_credentials(context: ServerContext) -> dict[str, Any]:
    """Read the tab with the server's own credential and those of identities."""
    query = read_query(CredentialQuery, context.request, limit=25)
    found = await servers.list_server_credentials(context.server.id, query, context.session, context.runtime)
    return {
        "credentials": found.items,
        "names": await names_of(context.session, [one.identity_id for one in found.items]),
        "kinds": credential_kinds(context.server.transport), "words": KINDS, "problems": None, "typed": Form(),
        "more": next_page(context.request, found.next_cursor), "first": first_page(context.request),
    }  # fmt: skip


def credential_kinds(transport: str) -> list[tuple[str, str]]:
    """The kinds of credentials for a transport, with labels."""
    return [(kind, KINDS[kind]) for kind in (STDIO_KINDS if transport == "stdio" else HTTP_KINDS)]


router = APIRouter(include_in_schema=False, route_class=PageRoute)


_TABS = {"": "Overview", "tools": "Tools", "access": "Who has access", "credentials": "Credentials"}
_PREVIEW = 10
_REFRESH_S = "2"
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


@router.get(LIST, operation_id="page_list_servers")
async def list_all(
    request: Request,
    viewer: Annotated[Viewer, require_viewer(Permission.SERVERS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """List servers, newest first."""
    query = read_query(ServerQuery, request, limit=25)
    found = await servers.list_servers(query, viewer.caller, session, runtime)
    return page(
        request, "servers/list.html",
        viewer=viewer, servers=found.items, query=query, path_of=path_of, health=health,
        is_filtered=bool(query.q or query.status or query.transport or query.sync_state or query.owner_group_id),
        more=next_page(request, found.next_cursor), first=first_page(request), done=_DONE.get(done),
    )  # fmt: skip


@router.get(f"{LIST}/{{server_id}}", operation_id="page_get_server")
async def show_one(
    server_id: ServerId,
    request: Request,
    viewer: Annotated[Viewer, require_viewer(Permission.SERVERS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    tab: Annotated[str, Query(max_length=20)] = "",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Show a tab of a server's page."""
    shown = await server_values(request, session, runtime, viewer, server_id, tab if tab in _TABS else "")
    answer = page(request, "servers/detail.html", viewer=viewer, done=_DONE.get(done), **shown)
    if shown["server"].sync.state == "running" and shown["tab"] == "":
        # Reloads the page without a script; tabs with forms are not reloaded.
        answer.headers["Refresh"] = _REFRESH_S
    return answer


async def server_values(
    request: Request, session: Session, runtime: Runtime, viewer: Viewer, server_id: UUID, tab: str
) -> dict[str, Any]:
    """The values of a server's page for a tab. Raises ``NotFound``."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    names = await names_of(session, [server.owner_group_id])
    context = ServerContext(request, session, runtime, viewer, server)
    read_tab = {"": _overview, "tools": _tools, "access": _access, "credentials": read_credentials}[tab]
    return {
        "server": server, "base": path_of(server.id), "tab": tab, "tabs": _TABS, "health": health(server),
        "owner": names.get(server.owner_group_id) if server.owner_group_id else None, "why_waiting": why_waiting,
        "gateway_url": f"{runtime.public_url}/mcp/{server.slug}",
        **await read_tab(context),
    }  # fmt: skip


async def _overview(context: ServerContext) -> dict[str, Any]:
    waiting = await _some_tools(context, state=["quarantined"])
    active = await _some_tools(context, state=["active"], sort="name")
    said = None
    if context.server.instructions == "pending":
        said = await servers.get_server_instructions(context.server.id, context.session)
    return {"waiting": waiting, "active": active, "said": said}


async def _some_tools(context: ServerContext, **filters: Any) -> list[ToolView]:
    query = ToolQuery(server_id=[context.server.id], limit=_PREVIEW, **filters)
    return (await tools.list_tools(query, context.viewer.caller, context.session, context.runtime)).items


async def _tools(context: ServerContext) -> dict[str, Any]:
    query = read_query(ToolQuery, context.request, limit=25, server_id=[context.server.id])
    found = await tools.list_tools(query, context.viewer.caller, context.session, context.runtime)
    return {
        "query": query, "tools": found.items,
        "more": next_page(context.request, found.next_cursor), "first": first_page(context.request),
    }  # fmt: skip


async def _access(context: ServerContext) -> dict[str, Any]:
    if not context.viewer.may("grants.read"):
        return {"grants": None}
    query = read_query(
        GrantQuery, context.request, limit=25, server_id=[context.server.id], status=["active", "scheduled"]
    )
    listed = await grants.list_grants(context.session, context.viewer.caller, query, context.runtime)
    found = GrantView.page(*listed, context.runtime.clock())
    return {
        "grants": found.items,
        "names": await names_of(context.session, [grant.principal.id for grant in found.items]),
        "more": next_page(context.request, found.next_cursor), "first": first_page(context.request),
    }  # fmt: skip


Change = Annotated[Submission, require_submission(Permission.SERVERS_WRITE)]
Writer = Annotated[Viewer, require_viewer(Permission.SERVERS_WRITE)]


_SOME = 5


async def lock_shown(session: Session, submission: Submission, server_id: UUID) -> Server:
    """Lock the server at the revision that the form showed. Raises ``NotFound`` and ``PreconditionFailed``."""
    row = await service.require_locked(session, server_id)
    ShownRevision.from_form(submission.form).check(row.revision)
    return row


@router.post(f"{LIST}/{{server_id}}/sync", operation_id="page_sync_server")
async def sync(
    server_id: ServerId,
    submission: Change,
    session: Session,
    runtime: CurrentRuntime,
    syncs: CurrentSyncs,
    request: Request,
) -> Response:
    """Sync the server's tools."""
    row = await service.require(session, server_id)
    # Releases the database connection, since a sync can take most of a minute.
    await commit(session)
    ended = await syncs.sync(runtime, server_id, submission.viewer.caller, request.state.request_id)
    await session.refresh(row)
    return redirect(path_of(server_id) + ("?done=synced" if ended and row.sync_state == "ok" else ""))


@router.get(f"{LIST}/{{server_id}}/disable", operation_id="page_confirm_disable_server")
async def ask_disable(server_id: ServerId, request: Request, viewer: Writer, session: Session) -> Response:
    """Show what stops when a server is disabled."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    return page(request, "servers/disable.html", viewer=viewer, server=server, base=path_of(server_id))


@router.post(f"{LIST}/{{server_id}}/disable/do", operation_id="page_disable_server")
async def disable(
    server_id: ServerId, submission: Change, session: Session, runtime: CurrentRuntime, request: Request
) -> Response:
    """Disable a server immediately."""
    await _set_status(session, runtime, submission, server_id, "disabled", request.state.request_id)
    return redirect(f"{path_of(server_id)}?done=disabled")


@router.post(f"{LIST}/{{server_id}}/enable", operation_id="page_enable_server")
async def enable(
    server_id: ServerId, submission: Change, session: Session, runtime: CurrentRuntime, request: Request
) -> Response:
    """Enable a server."""
    await _set_status(session, runtime, submission, server_id, "active", request.state.request_id)
    return redirect(f"{path_of(server_id)}?done=enabled")


@router.get(f"{LIST}/{{server_id}}/delete", operation_id="page_confirm_delete_server")
async def ask_delete(
    server_id: ServerId, request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show what ends with a server."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    query = GrantQuery(server_id=[server_id], limit=_SOME, status=["active", "scheduled"])
    reaching, following = await grants.list_grants(session, viewer.caller, query, runtime)
    number = f"more than {_SOME}" if following else str(len(reaching))
    return page(
        request, "servers/delete.html", viewer=viewer, server=server, base=path_of(server_id), grants=number
    )


@router.post(f"{LIST}/{{server_id}}/delete/do", operation_id="page_delete_server")
async def delete(server_id: ServerId, submission: Change, session: Session, request: Request) -> Response:
    """Delete a server."""
    row = await lock_shown(session, submission, server_id)
    await service.end(session, row, submission.viewer.caller, request.state.request_id)
    return redirect(f"{LIST}?done=deleted")


@router.post(f"{LIST}/{{server_id}}/instructions", operation_id="page_approve_instructions")
async def approve_instructions(
    server_id: ServerId, submission: Change, session: Session, request: Request
) -> Response:
    """Approve the server's instructions, exactly as they were shown."""
    row = await lock_shown(session, submission, server_id)
    digest = submission.form.text("digest")
    await instructions.approve(session, row, digest, submission.viewer.caller, request.state.request_id)
    return redirect(f"{path_of(server_id)}?done=instructions")


async def _set_status(
    session: Session,
    runtime: Runtime,
    submission: Submission,
    server_id: UUID,
    status: ServerStatus,
    request_id: str | None,
) -> None:
    row = await lock_shown(session, submission, server_id)
    rules = PlaceRules.of(runtime)
    await service.update(
        session, rules, row, ServerPatch(status=status), submission.viewer.caller, request_id
    )


@router.post(f"{LIST}/{{server_id}}/credentials", operation_id="page_set_credential")
async def set_one(
    server_id: ServerId,
    submission: Change,
    session: Session,
    runtime: CurrentRuntime,
    syncs: CurrentSyncs,
    request: Request,
) -> Response:
    """Store a credential, which is never shown again, not even in a refused form."""
    caller, form = submission.viewer.caller, submission.form
    async with attempt_change(session) as attempt:
        row = await lock_shown(session, submission, server_id)
        put = read_credential(form, row.env_names or [])
        holder = await find_holder(session, runtime, form.text("identity"))
        await put_credential(
            session,
            runtime.sealer,
            runtime.outbound.policy,
            row,
            holder,
            put,
            caller,
            request.state.request_id,
        )
    if attempt.problems:
        shown = await server_values(request, session, runtime, submission.viewer, server_id, "credentials")
        # The list's next page has another address than this response.
        shown |= {"problems": attempt.problems, "typed": form, "done": None, "more": None, "first": None}
        status = attempt.problems.status
        return page(request, "servers/detail.html", viewer=submission.viewer, status=status, **shown)
    if not form.flag("sync"):
        return redirect(f"{path_of(server_id)}?tab=credentials&done=credential_set")
    await commit(session)
    await syncs.sync(runtime, server_id, caller, request.state.request_id)
    return redirect(f"{path_of(server_id)}?done=credential_set")


@router.get(f"{LIST}/{{server_id}}/credentials/remove", operation_id="page_confirm_remove_credential")
async def ask_remove(
    server_id: ServerId,
    request: Request,
    viewer: Writer,
    session: Session,
    identity_id: Annotated[IdentityId | None, Query()] = None,
) -> Response:
    """Show what removing a credential means for calls."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    name = None if identity_id is None else (await names_of(session, [identity_id])).get(identity_id)
    return page(
        request, "servers/remove_credential.html",
        viewer=viewer, server=server, base=path_of(server_id), identity_id=identity_id, holder=name,
    )  # fmt: skip


@router.post(f"{LIST}/{{server_id}}/credentials/remove/do", operation_id="page_remove_credential")
async def remove(server_id: ServerId, submission: Change, session: Session, request: Request) -> Response:
    """Remove a credential."""
    row = await lock_shown(session, submission, server_id)
    holder = _holder(submission.form.text("identity_id"))
    await delete_credential(session, row, holder, submission.viewer.caller, request.state.request_id)
    return redirect(f"{path_of(server_id)}?tab=credentials&done=credential_removed")


def _holder(text: str) -> UUID | None:
    if not text:
        return None
    try:
        return parse_id(IDENTITY, text)
    except ValueError:
        raise Malformed("The form cannot be read. Open the page again.") from None
