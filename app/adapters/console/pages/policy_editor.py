"""The editor of policies: checked, tested and replayed against recorded calls before anything is kept."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import AsShown, Form, Problems, attempted, validated
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grant_words import link
from app.adapters.console.pages.policy_draft import Draft, Looked, errors_in, look_at
from app.adapters.console.pages.policy_templates import fill_in, filling, templates
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.domain.errors import TooManyRequests
from app.features.audit.names import names_of
from app.features.policies import routes as policies
from app.features.policies import service
from app.features.policies.schemas import PolicyView
from app.features.policies.simulate_routes import simulate_policies
from app.features.policies.simulate_schemas import LONGEST, PolicySimulation, SimulateRequest
from app.features.policies.validation import check_text
from app.http.authorization import Permission
from app.http.request_limits import BODY_LIMIT
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import PolicyId

HOME = "/console/policies"
NEW = f"{HOME}/new"
SPANS = (1, 7, 14, LONGEST.days)
"""How many days of calls can be replayed."""
_SHOWN = 50
router = APIRouter(include_in_schema=False, route_class=PageRoute)
CanWrite = Annotated[Submission, submitted(Permission.POLICIES_WRITE, largest=BODY_LIMIT)]


@router.get(NEW, operation_id="page_new_policy")
async def new_page(
    request: Request,
    viewer: Annotated[Viewer, signed_in(Permission.POLICIES_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """What to begin with: a template, then the form that fills it in; or a blank."""
    chosen = request.query_params.get("template", "")
    if chosen == "blank":
        return await show_editor(request, Draft(), None, viewer, session)
    if chosen:
        return await filling(request, chosen, Form(), viewer, session, runtime)
    return page(request, "policies/new.html", viewer=viewer, templates=await templates())


@router.post(NEW, operation_id="page_create_policy")
async def create(
    request: Request,
    submission: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Fill in a template, look at a draft, or keep it as a new policy."""
    viewer, form = submission.viewer, submission.form
    if form.text("do") == "fill":
        async with attempted(session) as filled:
            draft = await fill_in(form, viewer, session, runtime)
        if filled.problems:
            name = form.text("template")
            return await filling(request, name, form, viewer, session, runtime, filled.problems)
        return await show_editor(request, draft, None, viewer, session, unsaved=True)
    draft = Draft.typed(form)
    if form.text("do") != "save":
        return await _look(request, draft, None, form, viewer, session, runtime, snapshot)
    async with attempted(session) as attempt:
        body = draft.create()
        await check_text(session, body.text)
        made = await service.create_policy(session, viewer.caller, body, request.state.request_id)
    if attempt.problems:
        return await show_editor(request, draft, None, viewer, session, problems=attempt.problems)
    return redirect(f"{link('policy', made.id)}?done=created")


@router.post(f"{HOME}/{{policy_id}}", operation_id="page_update_policy")
async def update(
    policy_id: PolicyId,
    request: Request,
    submission: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Look at a draft as it was typed, or keep it."""
    viewer, form = submission.viewer, submission.form
    policy = await policies.get_policy(policy_id, viewer.caller, session, runtime, Response())
    draft = Draft.typed(form)
    if form.text("do") != "save":
        return await _look(request, draft, policy, form, viewer, session, runtime, snapshot)
    async with attempted(session) as attempt:
        body, shown = draft.update(), AsShown.by(form)
        await policies.update_policy(
            policy_id, body, viewer.caller, session, runtime, request, shown, Response(), dry_run=False
        )
    if attempt.problems:
        return await show_editor(
            request, draft, policy, viewer, session, form=form, problems=attempt.problems
        )
    return redirect(f"{link('policy', policy_id)}?done=saved")


async def _look(
    request: Request,
    draft: Draft,
    policy: PolicyView | None,
    form: Form,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    snapshot: AccessSnapshot,
) -> Response:
    """The editor with what was found of the draft, of which nothing is kept."""
    looked, replayed, step = Looked(), None, form.text("do")
    try:
        async with attempted(session) as attempt:
            if step == "add_test":
                draft.add_test(form)
            looked = await look_at(draft, policy, session, runtime)
            if step == "replay":
                asked = _replay(draft, policy, form)
                replayed = await simulate_policies(asked, viewer.caller, session, runtime, snapshot, request)
    except TooManyRequests as busy:
        attempt.problems = Problems(busy)
    return await show_editor(
        request, draft, policy, viewer, session,
        form=form, problems=attempt.problems, looked=looked, replayed=replayed,
    )  # fmt: skip


def _replay(draft: Draft, policy: PolicyView | None, form: Form) -> SimulateRequest:
    """The draft in the place of what is published of it, enforced: on trial it would change nothing."""
    change: dict[str, Any] = {"text": draft.text, "mode": "enforce"}
    if policy is not None:
        change["policy_id"] = policy.id
    days = form.text("days") or str(SPANS[1])
    asked = {"changes": [change], "days": int(days) if days.isdecimal() else days, "limit": _SHOWN}
    return validated(SimulateRequest, asked)


async def show_editor(
    request: Request,
    draft: Draft,
    policy: PolicyView | None,
    viewer: Viewer,
    session: AsyncSession,
    *,
    form: Form | None = None,
    problems: Problems | None = None,
    looked: Looked | None = None,
    replayed: PolicySimulation | None = None,
    **more: Any,
) -> Response:
    """The editor with what was typed; without ``looked`` and ``problems``, as it is opened."""
    form = form or Form()
    if problems:
        looked = Looked(errors=errors_in(draft.text, problems.errors))
    calls = [] if replayed is None else replayed.calls
    ids = [id for one in calls for id in (one.identity_id, one.server_id)]
    ids += [id for one in calls for side in (one.before, one.after) for id in side.policy_ids]
    small = ("test_name", "test_server", "test_tool", "test_arguments", "test_expect")
    return page(
        request,
        "policies/editor.html",
        viewer=viewer,
        status=problems.status if problems else 200,
        it=policy,
        draft=draft,
        problems=problems,
        found=problems,
        looked=looked,
        replayed=replayed,
        names=await names_of(session, ids),
        days=form.text("days") or str(SPANS[1]),
        spans=[(str(days), "1 day" if days == 1 else f"{days} days") for days in SPANS],
        # Once added, a test stands among the others.
        typed={
            name: "" if form.text("do") == "add_test" and not problems else form.raw(name) for name in small
        },
        revision=form.text("revision") or (None if policy is None else policy.revision),
        action=NEW if policy is None else link("policy", policy.id),
        # As it is opened, nothing was asked about it yet.
        untouched=not form.text("do"),
        link=link,
        **{"done": None, "since": "", "unsaved": bool(form.text("do") or problems), **more},
    )
