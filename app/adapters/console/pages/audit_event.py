"""One event of the audit trail, with what it is about, what changed, and the arguments where they are kept."""

import json
from typing import Annotated

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.explain import meaning_of
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.audit_filters import PATH
from app.adapters.console.pages.audit_words import changes_of, path_of, who_path
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.features.audit import routes as audit
from app.features.audit.names import names_of
from app.features.audit.schemas import AuditArgumentsView
from app.http.authorization import Permission, authorize
from app.http.runtime import CurrentRuntime
from app.http.transaction import Session
from app.lib.ids import EventId

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get(PATH + "/{event_id}", operation_id="page_show_audit_event")
async def show_event(
    request: Request,
    event_id: EventId,
    viewer: Annotated[Viewer, signed_in(Permission.AUDIT_READ)],
    session: Session,
) -> Response:
    """One event."""
    return await _show(request, viewer, session, event_id)


@router.post(PATH + "/{event_id}/arguments", operation_id="page_show_audit_event_arguments")
async def show_arguments(
    request: Request,
    event_id: EventId,
    submission: Annotated[Submission, submitted(Permission.ARGUMENTS_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """The same with the arguments of the call. That somebody looked at them is on record, so it is no link."""
    viewer = submission.viewer
    authorize(viewer.caller, Permission.AUDIT_READ)
    found = await audit.get_audit_event_arguments(request, session, runtime, event_id, viewer.caller)
    return await _show(request, viewer, session, event_id, found)


async def _show(
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    event_id: EventId,
    arguments: AuditArgumentsView | None = None,
) -> Response:
    event = await audit.get_audit_event(session, event_id)
    policies = [*(event.policy_ids or ()), *(event.observed_policy_ids or ())]
    names = await names_of(session, [event.on_behalf_of, event.token_id, *policies])
    reason = event.reason_code
    return page(
        request, "audit/event.html", viewer=viewer, event=event, changes=changes_of(event), path_of=path_of,
        who_path=who_path, meaning=meaning_of(reason) if reason else None, arguments=arguments,
        arguments_text=json.dumps(arguments.arguments, indent=2, ensure_ascii=False) if arguments else "",
        names=names,
    )  # fmt: skip
