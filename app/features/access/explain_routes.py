"""``/access/explain``: explain an access decision."""

from typing import Annotated, Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.access.explain import Ask, RecordedCall, explain, find_recorded
from app.access.point_in_time import AccessReader
from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.db.call_arguments import kept_arguments
from app.domain.errors import Invalid
from app.features.access.schemas import AccessExplanation, ExplainRequest
from app.http.authorization import Caller, Permission, requires
from app.http.problems import problem_responses
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session, api_router
from app.lib.ids import SERVER, format_id

router = api_router("access", responses=problem_responses(404))

CanExplain = Annotated[Caller, requires(Permission.ACCESS_EXPLAIN)]


@router.post("/explain", operation_id="explain_access", summary="Explain why a call is decided as it is")
async def explain_access(
    body: ExplainRequest,
    caller: CanExplain,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> AccessExplanation:
    """Decide the call as the gateway does and list every grant, scope and policy that was considered, with what ruled
    each of them out. Nothing is called, counted or recorded.

    With `event_id`, the call is decided again as of that time, and the recorded decision is returned with it.
    """
    if body.event_id is not None:
        return await _of_event(body.event_id, caller, session, runtime, snapshot)
    reader = AccessReader(session, snapshot, body.at, asked=body.server, typed=body.tool, pointer="/at")
    explanation = await explain(session, reader, body.ask())
    return AccessExplanation.of(explanation, "none" if body.arguments is None else "given", None)


async def _of_event(
    event_id: UUID, caller: Caller, session: AsyncSession, runtime: Runtime, snapshot: AccessSnapshot
) -> AccessExplanation:
    call = await find_recorded(session, event_id)
    event = call.event
    arguments, used = await _arguments(call, caller, session, runtime)
    ask = Ask(
        None,
        call.token_id,
        None if event.server_id is None else format_id(SERVER, event.server_id),
        event.tool,
        call.part,
        arguments,
        call.address,
        call.program,
    )
    reader = AccessReader(
        session, snapshot, event.time, asked=ask.server, typed=event.tool, pointer="/event_id"
    )
    explanation = await explain(session, reader, ask)
    if explanation.decision.reason_code == "server_unknown" and event.reason_code != "server_unknown":
        raise Invalid.field(
            "/event_id", "about_the_fleet", "This event is about all servers together: ask about one of them."
        )
    return AccessExplanation.of(explanation, used, call)


async def _arguments(
    call: RecordedCall, caller: Caller, session: AsyncSession, runtime: Runtime
) -> tuple[dict[str, Any] | None, str]:
    """The arguments of a call, if they were kept and the caller may know how they affect policies."""
    if not call.is_call:
        return None, "none"
    if call.event.arguments_digest is None:
        return {}, "none"
    if not caller.may(Permission.ARGUMENTS_READ):
        return None, "not_permitted"
    kept, arguments = await kept_arguments(session, runtime.sealer, call.event.id)
    return (arguments or {}, "kept") if kept else (None, "not_kept")
