"""What is done to a tool from its page: approve it, set its risk, hold it and let it go, remove it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response

from app.adapters.console.forms import AsShown, validated
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.tools import LIST, path_of
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.features.tools import routes as tools
from app.features.tools import service
from app.features.tools.schemas import ToolApprove, ToolPatch
from app.http.authorization import Permission
from app.http.transaction import Session
from app.lib.ids import ToolId
from app.models.servers import Server
from app.models.tools import Tool

router = APIRouter(include_in_schema=False, route_class=PageRoute)
Change = Annotated[Submission, submitted(Permission.TOOLS_WRITE)]
Writer = Annotated[Viewer, signed_in(Permission.TOOLS_WRITE)]


@router.post(f"{LIST}/{{tool_id}}/approve", operation_id="page_approve_tool")
async def approve(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Accept the definition that was shown, and no other that came since."""
    server, row = await _locked(session, submission, tool_id)
    seen = validated(ToolApprove, {"definition_digest": submission.form.text("digest")})
    caller, request_id = submission.viewer.caller, request.state.request_id
    await service.approve(session, server, row, seen.definition_digest, caller, request_id)
    return redirect(f"{path_of(tool_id)}?done=approved")


@router.post(f"{LIST}/{{tool_id}}/risk", operation_id="page_set_risk")
async def set_risk(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Say how dangerous it is; nothing chosen: what its approved definition says."""
    patch = validated(ToolPatch, {"risk": submission.form.text("risk") or None})
    return await _patched(session, submission, tool_id, patch, request, "risk")


@router.post(f"{LIST}/{{tool_id}}/hold", operation_id="page_hold_tool")
async def hold(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Nobody can call it until it is let go."""
    patch = ToolPatch(state="quarantined")
    return await _patched(session, submission, tool_id, patch, request, "held")


@router.post(f"{LIST}/{{tool_id}}/release", operation_id="page_release_tool")
async def release(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Let one go that was held by hand."""
    patch = ToolPatch(state="active")
    return await _patched(session, submission, tool_id, patch, request, "released")


@router.get(f"{LIST}/{{tool_id}}/remove", operation_id="page_confirm_remove_tool")
async def ask_remove(tool_id: ToolId, request: Request, viewer: Writer, session: Session) -> Response:
    """What ends with it."""
    tool = await tools.get_tool(tool_id, viewer.caller, session, Response())
    return page(request, "tools/remove.html", viewer=viewer, tool=tool, base=path_of(tool_id))


@router.post(f"{LIST}/{{tool_id}}/remove/do", operation_id="page_remove_tool")
async def remove(tool_id: ToolId, submission: Change, session: Session, request: Request) -> Response:
    """Take it away, at once for every token."""
    server, row = await _locked(session, submission, tool_id)
    await service.remove(session, server, row, submission.viewer.caller, request.state.request_id)
    return redirect(f"{LIST}?done=removed")


async def _locked(session: Session, submission: Submission, tool_id: UUID) -> tuple[Server, Tool]:
    """The tool as the form showed it, and its server, locked. Raises ``NotFound`` and ``PreconditionFailed``."""
    server, row = await service.require_locked(session, tool_id)
    AsShown.by(submission.form).check(row.revision)
    return server, row


async def _patched(
    session: Session, submission: Submission, tool_id: UUID, patch: ToolPatch, request: Request, done: str
) -> Response:
    server, row = await _locked(session, submission, tool_id)
    await service.update(session, server, row, patch, submission.viewer.caller, request.state.request_id)
    return redirect(f"{path_of(tool_id)}?done={done}")
