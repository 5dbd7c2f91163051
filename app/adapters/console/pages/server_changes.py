"""What is done to a server from its page: sync it, stop it and let it go on, accept what it says, end it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.adapters.console.forms import AsShown
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.server_words import LIST, path_of
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.db.engine import commit
from app.features.grants import routes as grants
from app.features.grants.schemas import GrantQuery
from app.features.servers import instructions, service
from app.features.servers import routes as servers
from app.features.servers.places import PlaceRules
from app.features.servers.schemas import ServerPatch, ServerStatus
from app.features.tools.asked_syncs import CurrentSyncs
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import ServerId
from app.models.servers import Server

router = APIRouter(include_in_schema=False, route_class=PageRoute)
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
    reaching = await grants.list_grants(query, viewer.caller, session, runtime)
    number = f"more than {_SOME}" if reaching.next_cursor else str(len(reaching.items))
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
