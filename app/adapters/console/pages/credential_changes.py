"""Setting and removing the upstream credentials of a server."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from app.adapters.console.forms import attempted
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.credentials import find_holder, read_credential
from app.adapters.console.pages.server_changes import Change, Writer, locked
from app.adapters.console.pages.server_words import LIST, path_of
from app.adapters.console.pages.servers import server_values
from app.db.engine import commit
from app.domain.errors import Malformed
from app.features.audit.names import names_of
from app.features.servers import routes as servers
from app.features.servers.credentials import delete_credential, put_credential
from app.features.tools.asked_syncs import CurrentSyncs
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session
from app.lib.ids import IDENTITY, IdentityId, ServerId, parse_id

router = APIRouter(include_in_schema=False, route_class=PageRoute)


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
