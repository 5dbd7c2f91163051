"""Servers: the list, and each with its health, its tools, who reaches it, and what is waiting to be looked at.

What pages of servers share: their addresses, what a view of one is made of, and how things stand in words.

The upstream credentials of a server: which there are, and a form that sets one. None is ever shown.

What is done to a server from its page: sync it, stop it and let it go on, accept what it says, end it.

Setting and removing the upstream credentials of a server.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import (
    AsShown,
    Form,
    Model,
    attempted,
    first_page,
    next_page,
    read_query,
    validated,
)
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
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
from app.features.tools.asked_syncs import CurrentSyncs
from app.features.tools.schemas import ToolQuery, ToolView
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import IDENTITY, SERVER, IdentityId, ServerId, format_id, parse_id
from app.models.servers import Server

LIST = "/console/servers"


@dataclass(frozen=True, slots=True)
class Sight:
    """Who looks at which server, and what there is to read it with."""

    request: Request
    session: AsyncSession
    runtime: Runtime
    viewer: Viewer
    server: ServerView


def path_of(server_id: UUID) -> str:
    """The address of a server's page."""
    return f"{LIST}/{format_id(SERVER, server_id)}"


def health(server: ServerView) -> tuple[str, str]:
    """How a server is, as a state and in words."""
    if server.status == "disabled":
        return "disabled", "disabled"
    if server.sync.state == "running":
        return "running", "its tools are being read"
    if server.sync.state == "never":
        return "never", "never synced"
    if server.sync.state == "error":
        return "error", "last sync failed"
    return ("warn", "some tools left out") if server.sync.error else ("ok", "healthy")


def why_waiting(tool: ToolView) -> str:
    """Why a tool waits, or an empty text."""
    if tool.state != "quarantined":
        return ""
    if tool.approved_digest is None:
        return "new"
    return "held by hand" if tool.approved_digest == tool.definition_digest else "definition changed"


KINDS = {
    "bearer": "Bearer token",
    "header": "Header",
    "oauth_client_credentials": "OAuth client credentials",
    "env": "Environment variables",
    "none": "None: calls carry nothing",
}
OF_HTTP = ("bearer", "header", "oauth_client_credentials", "none")
OF_STDIO = ("env", "none")
_OPTIONAL = ("scope", "resource", "audience")

# The form has one field for what is secret, and in that of a server "name" is the server's.
_FIELD_OF = {"/name": "/header_name", "/token": "/secret", "/value": "/secret", "/client_secret": "/secret"}


def read_credential(form: Form, env_names: list[str]) -> Credential:
    """What was typed. Raises ``Invalid``, naming the fields of the form."""
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
    raise Invalid.field("/kind", "required", "Choose what calls to the server carry.")


def _read(model: type[Model], typed: dict[str, Any]) -> Model:
    try:
        return validated(model, typed)
    except Invalid as invalid:
        errors = [replace(one, pointer=_FIELD_OF.get(one.pointer, one.pointer)) for one in invalid.errors]
        raise Invalid(invalid.detail, errors=errors) from None


async def find_holder(session: AsyncSession, runtime: Runtime, user_name: str) -> UUID | None:
    """The identity that a credential is for; None, without a name: everybody else. Raises ``Invalid``."""
    if not user_name:
        return None
    query = validated(IdentityQuery, {"user_name": [user_name], "limit": 1})
    found = (await identities.list_identities(query, session, runtime)).items
    if not found:
        raise Invalid.field("/identity", "unknown_identity", "There is no identity with this user name.")
    return found[0].id


async def shown_credentials(sight: Sight) -> dict[str, Any]:
    """What the page shows: the server's own, and those of identities."""
    query = read_query(CredentialQuery, sight.request, limit=25)
    found = await servers.list_server_credentials(sight.server.id, query, sight.session, sight.runtime)
    return {
        "credentials": found.items,
        "names": await names_of(sight.session, [one.identity_id for one in found.items]),
        "kinds": kinds_of(sight.server.transport), "words": KINDS, "problems": None, "typed": Form(),
        "more": next_page(sight.request, found.next_cursor), "first": first_page(sight.request),
    }  # fmt: skip


def kinds_of(transport: str) -> list[tuple[str, str]]:
    """What a server of this transport can be given, and words for it."""
    return [(kind, KINDS[kind]) for kind in (OF_STDIO if transport == "stdio" else OF_HTTP)]


router = APIRouter(include_in_schema=False, route_class=PageRoute)


_TABS = {"": "Overview", "tools": "Tools", "access": "Who has access", "credentials": "Credentials"}
_PREVIEW = 10
_REFRESH_S = "2"
_DONE = {
    "registered": "The server is registered.",
    "saved": "The changes are saved.",
    "synced": "Its tools were read.",
    "disabled": "The server is disabled: no call reaches it any more.",
    "enabled": "The server is enabled.",
    "instructions": "Clients that reach all of the server are told its instructions from now on.",
    "credential_set": "The credential is stored. It can be replaced, and never read.",
    "credential_removed": "The credential is removed.",
    "deleted": "The server is ended: it is out of reach of every token, and its credentials are destroyed.",
    "approved": "The tool is approved, and can be called by whoever may.",
}


@router.get(LIST, operation_id="page_list_servers")
async def list_all(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.SERVERS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Servers, newest first, by text, state, transport and how their last sync went."""
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
    viewer: Annotated[Viewer, signed_in(Permission.SERVERS_READ)],
    session: Session,
    runtime: CurrentRuntime,
    tab: Annotated[str, Query(max_length=20)] = "",
    done: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """One server, seen from one side at a time."""
    shown = await server_values(request, session, runtime, viewer, server_id, tab if tab in _TABS else "")
    answer = page(request, "servers/detail.html", viewer=viewer, done=_DONE.get(done), **shown)
    if shown["server"].sync.state == "running" and shown["tab"] == "":
        # The tabs with forms keep what is typed. As a header, since it needs no script.
        answer.headers["Refresh"] = _REFRESH_S
    return answer


async def server_values(
    request: Request, session: Session, runtime: Runtime, viewer: Viewer, server_id: UUID, tab: str
) -> dict[str, Any]:
    """What the page of a server shows on a tab. Raises ``NotFound``."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    names = await names_of(session, [server.owner_group_id])
    sight = Sight(request, session, runtime, viewer, server)
    of_tab = {"": _overview, "tools": _tools, "access": _access, "credentials": shown_credentials}[tab]
    return {
        "server": server, "base": path_of(server.id), "tab": tab, "tabs": _TABS, "health": health(server),
        "owner": names.get(server.owner_group_id) if server.owner_group_id else None, "why_waiting": why_waiting,
        "gateway_url": f"{runtime.public_url}/mcp/{server.slug}",
        **await of_tab(sight),
    }  # fmt: skip


async def _overview(sight: Sight) -> dict[str, Any]:
    waiting = await _some_tools(sight, state=["quarantined"])
    active = await _some_tools(sight, state=["active"], sort="name")
    said = None
    if sight.server.instructions == "pending":
        said = await servers.get_server_instructions(sight.server.id, sight.session)
    return {"waiting": waiting, "active": active, "said": said}


async def _some_tools(sight: Sight, **filters: Any) -> list[ToolView]:
    query = ToolQuery(server_id=[sight.server.id], limit=_PREVIEW, **filters)
    return (await tools.list_tools(query, sight.viewer.caller, sight.session, sight.runtime)).items


async def _tools(sight: Sight) -> dict[str, Any]:
    query = read_query(ToolQuery, sight.request, limit=25, server_id=[sight.server.id])
    found = await tools.list_tools(query, sight.viewer.caller, sight.session, sight.runtime)
    return {
        "query": query, "tools": found.items,
        "more": next_page(sight.request, found.next_cursor), "first": first_page(sight.request),
    }  # fmt: skip


async def _access(sight: Sight) -> dict[str, Any]:
    if not sight.viewer.may("grants.read"):
        return {"grants": None}
    query = read_query(
        GrantQuery, sight.request, limit=25, server_id=[sight.server.id], status=["active", "scheduled"]
    )
    listed = await grants.list_grants(sight.session, sight.viewer.caller, query, sight.runtime)
    found = GrantView.page(*listed, sight.runtime.clock())
    return {
        "grants": found.items,
        "names": await names_of(sight.session, [grant.principal.id for grant in found.items]),
        "more": next_page(sight.request, found.next_cursor), "first": first_page(sight.request),
    }  # fmt: skip


Change = Annotated[Submission, submitted(Permission.SERVERS_WRITE)]
Writer = Annotated[Viewer, signed_in(Permission.SERVERS_WRITE)]


_SOME = 5


async def locked(session: Session, submission: Submission, server_id: UUID) -> Server:
    """The server as the form showed it, locked. Raises ``NotFound`` and ``PreconditionFailed``."""
    row = await service.require_locked(session, server_id)
    AsShown.by(submission.form).check(row.revision)
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
    """Read its tools. Its page shows progress and result."""
    row = await service.require(session, server_id)
    # As at the API, the connection goes back: the server may take most of a minute.
    await commit(session)
    ended = await syncs.sync(runtime, server_id, submission.viewer.caller, request.state.request_id)
    await session.refresh(row)
    return redirect(path_of(server_id) + ("?done=synced" if ended and row.sync_state == "ok" else ""))


@router.get(f"{LIST}/{{server_id}}/disable", operation_id="page_confirm_disable_server")
async def ask_disable(server_id: ServerId, request: Request, viewer: Writer, session: Session) -> Response:
    """What stops when it is disabled."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    return page(request, "servers/disable.html", viewer=viewer, server=server, base=path_of(server_id))


@router.post(f"{LIST}/{{server_id}}/disable/do", operation_id="page_disable_server")
async def disable(
    server_id: ServerId, submission: Change, session: Session, runtime: CurrentRuntime, request: Request
) -> Response:
    """Out of reach at once, until it is enabled."""
    await _set_status(session, runtime, submission, server_id, "disabled", request.state.request_id)
    return redirect(f"{path_of(server_id)}?done=disabled")


@router.post(f"{LIST}/{{server_id}}/enable", operation_id="page_enable_server")
async def enable(
    server_id: ServerId, submission: Change, session: Session, runtime: CurrentRuntime, request: Request
) -> Response:
    """Within reach again."""
    await _set_status(session, runtime, submission, server_id, "active", request.state.request_id)
    return redirect(f"{path_of(server_id)}?done=enabled")


@router.get(f"{LIST}/{{server_id}}/delete", operation_id="page_confirm_delete_server")
async def ask_delete(
    server_id: ServerId, request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """What ends with it."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    query = GrantQuery(server_id=[server_id], limit=_SOME, status=["active", "scheduled"])
    reaching, following = await grants.list_grants(session, viewer.caller, query, runtime)
    number = f"more than {_SOME}" if following else str(len(reaching))
    return page(
        request, "servers/delete.html", viewer=viewer, server=server, base=path_of(server_id), grants=number
    )


@router.post(f"{LIST}/{{server_id}}/delete/do", operation_id="page_delete_server")
async def delete(server_id: ServerId, submission: Change, session: Session, request: Request) -> Response:
    """End it."""
    row = await locked(session, submission, server_id)
    await service.end(session, row, submission.viewer.caller, request.state.request_id)
    return redirect(f"{LIST}?done=deleted")


@router.post(f"{LIST}/{{server_id}}/instructions", operation_id="page_approve_instructions")
async def approve_instructions(
    server_id: ServerId, submission: Change, session: Session, request: Request
) -> Response:
    """Accept what it says of its use: the very text that was shown."""
    row = await locked(session, submission, server_id)
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
    row = await locked(session, submission, server_id)
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
    """Store what was typed; it is never shown again, not even in a form that was refused."""
    caller, form = submission.viewer.caller, submission.form
    async with attempted(session) as attempt:
        row = await locked(session, submission, server_id)
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
        # The other pages of the list are at another address than this answer.
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
    """What becomes of calls without it."""
    server = await servers.get_server(server_id, viewer.caller, session, Response())
    name = None if identity_id is None else (await names_of(session, [identity_id])).get(identity_id)
    return page(
        request, "servers/remove_credential.html",
        viewer=viewer, server=server, base=path_of(server_id), identity_id=identity_id, holder=name,
    )  # fmt: skip


@router.post(f"{LIST}/{{server_id}}/credentials/remove/do", operation_id="page_remove_credential")
async def remove(server_id: ServerId, submission: Change, session: Session, request: Request) -> Response:
    """Remove it."""
    row = await locked(session, submission, server_id)
    holder = _holder(submission.form.text("identity_id"))
    await delete_credential(session, row, holder, submission.viewer.caller, request.state.request_id)
    return redirect(f"{path_of(server_id)}?tab=credentials&done=credential_removed")


def _holder(text: str) -> UUID | None:
    if not text:
        return None
    try:
        return parse_id(IDENTITY, text)
    except ValueError:
        raise Malformed("The form cannot be read: open the page again.") from None
