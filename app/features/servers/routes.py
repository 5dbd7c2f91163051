"""``/api/v1/servers``: MCP servers, their instructions and credentials, and the sync of their tools."""

from typing import Annotated

from fastapi import Query, Request, Response

from app.db.change import Change
from app.db.engine import commit
from app.features.servers import credentials, service
from app.features.servers.schemas import (
    CredentialPut,
    CredentialQuery,
    IncludeEnded,
    InstructionsApprove,
    ServerCreate,
    ServerInstructions,
    ServerPatch,
    ServerQuery,
    ServerView,
    UpstreamCredentialView,
)
from app.features.servers.sync import CurrentSyncs
from app.http.authorization import Caller, Permission, changes, requires
from app.http.etags import IfMatch
from app.http.pagination import Page
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session, api_router
from app.lib.ids import IdentityId, ServerId

router = api_router("servers")

CanRead = Annotated[Caller, requires(Permission.SERVERS_READ)]
CanWrite = Annotated[Change, changes(Permission.SERVERS_WRITE)]
_CHANGED = problem_responses(412)


@router.post("", status_code=201)
async def create_server(body: ServerCreate, change: CanWrite, runtime: CurrentRuntime) -> ServerView:
    """Register a server. Nothing is sent to it; `POST /servers/{id}/sync` reads its tools."""
    row = await service.create_server(change, runtime, body)
    return await service.show(change.session, row)


@router.get("")
async def list_servers(
    query: Annotated[ServerQuery, Query()], caller: CanRead, session: Session, runtime: CurrentRuntime
) -> Page[ServerView]:
    """List servers, newest first."""
    return await service.list_servers(session, caller, query, runtime)


@router.get("/{server_id}")
async def get_server(
    server_id: ServerId, caller: CanRead, session: Session, include: IncludeEnded = None
) -> ServerView:
    """Read one server."""
    row = await service.get_server(session, caller, server_id, ended=include is not None)
    return await service.show(session, row)


@router.patch("/{server_id}", responses=problem_responses(409))
async def update_server(
    server_id: ServerId, body: ServerPatch, change: CanWrite, runtime: CurrentRuntime, if_match: IfMatch
) -> ServerView:
    """Change a server (merge patch). The slug and the transport never change."""
    row = await service.update_server(change, runtime, server_id, body, if_match)
    return await service.show(change.session, row)


@router.delete("/{server_id}", status_code=204, responses=_CHANGED)
async def delete_server(server_id: ServerId, change: CanWrite, if_match: IfMatch) -> None:
    """End a server, immediately for every token. Its credentials are deleted, and its slug is reserved for 90 days."""
    await service.end_server(change, server_id, if_match)


@router.post(
    "/{server_id}/sync",
    responses=problem_responses(409)
    | {
        202: {
            "model": ServerView,
            "description": "The sync continues: `sync.state` is `running` until it ends. Read the server to see.",
            "headers": {"Retry-After": {"$ref": "#/components/headers/Retry-After"}},
        }
    },
)
async def sync_server(
    server_id: ServerId,
    caller: Annotated[Caller, requires(Permission.SERVERS_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
    syncs: CurrentSyncs,
    request: Request,
    if_match: IfMatch,
    response: Response,
) -> ServerView:
    """Read the server's tools. A failed sync also returns 200, with `sync.state` `error` and the reason, and changes
    nothing else. One that takes longer than 2 seconds returns 202 and continues."""
    row = await service.get_server(session, caller, server_id)
    if_match.check(row.revision)
    # Returns the connection to the pool: the server may take most of a minute.
    await commit(session)
    if not await syncs.sync(runtime, server_id, caller, request.state.request_id):
        response.status_code = 202
        response.headers["Retry-After"] = "1"
    await session.refresh(row)
    return await service.show(session, row)


@router.get("/{server_id}/instructions")
async def get_server_instructions(
    server_id: ServerId, caller: CanRead, session: Session
) -> ServerInstructions:
    """Read the instructions of a server: the latest text and the approved one that clients get."""
    return ServerInstructions.from_row(await service.get_server(session, caller, server_id))


@router.post("/{server_id}/instructions/approve", responses=problem_responses(409))
async def approve_server_instructions(
    server_id: ServerId, body: InstructionsApprove, change: CanWrite, if_match: IfMatch
) -> ServerInstructions:
    """Approve the instructions of a server, the text with this digest.

    Clients that reach the whole server get them. `If-Match` takes the server's `ETag`."""
    row = await service.approve_instructions(change, server_id, body.digest, if_match)
    return ServerInstructions.from_row(row)


@router.get("/{server_id}/credentials")
async def list_server_credentials(
    server_id: ServerId,
    query: Annotated[CredentialQuery, Query()],
    caller: CanRead,
    session: Session,
    runtime: CurrentRuntime,
) -> Page[UpstreamCredentialView]:
    """List the credentials of a server, its own and those of identities, newest first."""
    return await credentials.list_credentials(session, caller, server_id, query, runtime)


@router.put("/{server_id}/credential", responses=_CHANGED)
async def set_server_credential(
    server_id: ServerId, body: CredentialPut, change: CanWrite, runtime: CurrentRuntime, if_match: IfMatch
) -> UpstreamCredentialView:
    """Set the credential of a server, which replaces the client's token. It can be replaced, never read.

    `If-Match` takes the server's `ETag`."""
    stored = await credentials.put_credential(change, runtime, server_id, None, body.root, if_match)
    return UpstreamCredentialView.model_validate(stored, from_attributes=True)


@router.delete("/{server_id}/credential", status_code=204, responses=_CHANGED)
async def delete_server_credential(server_id: ServerId, change: CanWrite, if_match: IfMatch) -> None:
    """Remove the credential of a server: calls carry none. `If-Match` takes the server's `ETag`."""
    await credentials.delete_credential(change, server_id, None, if_match)


@router.put("/{server_id}/credentials/{identity_id}", responses=_CHANGED)
async def set_identity_credential(
    server_id: ServerId,
    identity_id: IdentityId,
    body: CredentialPut,
    change: CanWrite,
    runtime: CurrentRuntime,
    if_match: IfMatch,
) -> UpstreamCredentialView:
    """Set the credential for one identity's calls to a server, instead of the server's own.

    `If-Match` takes the server's `ETag`."""
    stored = await credentials.put_credential(change, runtime, server_id, identity_id, body.root, if_match)
    return UpstreamCredentialView.model_validate(stored, from_attributes=True)


@router.delete("/{server_id}/credentials/{identity_id}", status_code=204, responses=_CHANGED)
async def delete_identity_credential(
    server_id: ServerId, identity_id: IdentityId, change: CanWrite, if_match: IfMatch
) -> None:
    """Remove the credential of one identity: its calls carry the server's own. `If-Match` takes the server's `ETag`."""
    await credentials.delete_credential(change, server_id, identity_id, if_match)
