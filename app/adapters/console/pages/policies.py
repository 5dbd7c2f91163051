"""Policies: the list, the editor, published versions, and publishing, rolling back and ending a policy."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.snapshot import AccessSnapshot, CurrentSnapshot
from app.adapters.console.forms import (
    Form,
    Problems,
    ShownRevision,
    attempt_change,
    first_page,
    next_page,
    read_query,
    validate,
)
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grants import link
from app.adapters.console.pages.policy_draft import (
    Draft,
    DraftReport,
    fill_template,
    locate_errors,
    locate_warnings,
    review_draft,
    show_template_form,
    templates,
)
from app.adapters.console.viewer import Submission, Viewer, require_submission, require_viewer
from app.domain.errors import TooManyRequests
from app.features.audit.names import names_of
from app.features.policies import routes as policies
from app.features.policies import service
from app.features.policies.schemas import (
    PolicyChange,
    PolicyQuery,
    PolicyRollback,
    PolicyVersionQuery,
    PolicyView,
)
from app.features.policies.service import check_text
from app.features.policies.simulate_routes import simulate_policies
from app.features.policies.simulate_schemas import MAX_WINDOW, PolicySimulation, SimulateRequest
from app.http.authorization import Permission
from app.http.request_limits import BODY_LIMIT
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import PolicyId

HOME = "/console/policies"
NEW = f"{HOME}/new"
SPANS = (1, 7, 14, MAX_WINDOW.days)
"""The offered numbers of days whose calls are replayed."""
_SHOWN = 50
router = APIRouter(include_in_schema=False, route_class=PageRoute)
CanWrite = Annotated[Submission, require_submission(Permission.POLICIES_WRITE, max_bytes=BODY_LIMIT)]


@router.get(NEW, operation_id="page_new_policy")
async def new_page(
    request: Request,
    viewer: Annotated[Viewer, require_viewer(Permission.POLICIES_WRITE)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """Show the templates, the form of a template, or the editor."""
    chosen = request.query_params.get("template", "")
    if chosen == "blank":
        return await show_editor(request, Draft(), None, viewer, session)
    if chosen:
        return await show_template_form(request, chosen, Form(), viewer, session, runtime)
    return page(request, "policies/new.html", viewer=viewer, templates=await templates())


@router.post(NEW, operation_id="page_create_policy")
async def create(
    request: Request,
    submission: CanWrite,
    session: Session,
    runtime: CurrentRuntime,
    snapshot: CurrentSnapshot,
) -> Response:
    """Render a template, check a draft, or create the policy."""
    viewer, form = submission.viewer, submission.form
    if form.text("do") == "fill":
        async with attempt_change(session) as filled:
            draft = await fill_template(form, viewer, session, runtime)
        if filled.problems:
            name = form.text("template")
            return await show_template_form(request, name, form, viewer, session, runtime, filled.problems)
        return await show_editor(request, draft, None, viewer, session, unsaved=True)
    draft = Draft.typed(form)
    if form.text("do") != "save":
        return await _review(request, draft, None, form, viewer, session, runtime, snapshot)
    async with attempt_change(session) as attempt:
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
    """Check a draft, or save it."""
    viewer, form = submission.viewer, submission.form
    policy = await policies.get_policy(policy_id, viewer.caller, session, runtime, Response())
    draft = Draft.typed(form)
    if form.text("do") != "save":
        return await _review(request, draft, policy, form, viewer, session, runtime, snapshot)
    async with attempt_change(session) as attempt:
        body, shown = draft.update(), ShownRevision.from_form(form)
        await policies.update_policy(
            policy_id, body, viewer.caller, session, runtime, request, shown, Response(), dry_run=False
        )
    if attempt.problems:
        return await show_editor(
            request, draft, policy, viewer, session, form=form, problems=attempt.problems
        )
    return redirect(f"{link('policy', policy_id)}?done=saved")


async def _review(
    request: Request,
    draft: Draft,
    policy: PolicyView | None,
    form: Form,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    snapshot: AccessSnapshot,
) -> Response:
    """Show the editor with the check's results; nothing is saved."""
    report, replayed, step = DraftReport(), None, form.text("do")
    try:
        async with attempt_change(session) as attempt:
            if step == "add_test":
                draft.add_test(form)
            report = await review_draft(draft, policy, session, runtime)
            if step == "replay":
                asked = _replay(draft, policy, form)
                replayed = await simulate_policies(asked, viewer.caller, session, runtime, snapshot, request)
    except TooManyRequests as busy:
        attempt.problems = Problems(busy)
    return await show_editor(
        request, draft, policy, viewer, session,
        form=form, problems=attempt.problems, report=report, replayed=replayed,
    )  # fmt: skip


def _replay(draft: Draft, policy: PolicyView | None, form: Form) -> SimulateRequest:
    """Build the simulation of the draft in enforce mode, since observe mode would change no decision."""
    change: dict[str, Any] = {"text": draft.text, "mode": "enforce"}
    if policy is not None:
        change["policy_id"] = policy.id
    days = form.text("days") or str(SPANS[1])
    asked = {"changes": [change], "days": int(days) if days.isdecimal() else days, "limit": _SHOWN}
    return validate(SimulateRequest, asked)


async def show_editor(
    request: Request,
    draft: Draft,
    policy: PolicyView | None,
    viewer: Viewer,
    session: AsyncSession,
    *,
    form: Form | None = None,
    problems: Problems | None = None,
    report: DraftReport | None = None,
    replayed: PolicySimulation | None = None,
    **more: Any,
) -> Response:
    """Show the editor; without a report and problems, as it is first opened."""
    form = form or Form()
    if problems:
        report = DraftReport(errors=locate_errors(draft.text, problems.errors))
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
        report=report,
        replayed=replayed,
        names=await names_of(session, ids),
        days=form.text("days") or str(SPANS[1]),
        spans=[(str(days), "1 day" if days == 1 else f"{days} days") for days in SPANS],
        # The small form is emptied after its test was added.
        typed={
            name: "" if form.text("do") == "add_test" and not problems else form.raw(name) for name in small
        },
        revision=form.text("revision") or (None if policy is None else policy.revision),
        action=NEW if policy is None else link("policy", policy.id),
        # True until a button was pressed.
        untouched=not form.text("do"),
        link=link,
        **{"done": None, "since": "", "unsaved": bool(form.text("do") or problems), **more},
    )


_PAGE = 25
_LOOK_BACK = timedelta(days=30)
_DONE = {
    "created": "The draft was saved. It decides nothing until you publish it.",
    "saved": "The draft was saved. The published version stays in force.",
    "published": "The policy was published. It decides every new call.",
    "unpublished": "The policy was unpublished and decides no calls. The draft and the versions remain.",
    "rolled-back": "The earlier version is in force again, under a new number.",
    "ended": "The policy was deleted. It decides no calls.",
    "same": "Nothing was changed, since this version is already in force.",
}
CanRead = Annotated[Viewer, require_viewer(Permission.POLICIES_READ)]


def done_message(request: Request) -> str | None:
    """The message about the change that redirected here."""
    return _DONE.get(request.query_params.get("done", ""))


def audit_start(viewer: Viewer, runtime: Runtime) -> str:
    """The start time of links into the audit log; empty for a viewer who may not read it."""
    if not viewer.may("audit.read"):
        return ""
    return (runtime.clock() - _LOOK_BACK).strftime("%Y-%m-%dT00:00:00Z")


@router.get(HOME, operation_id="page_list_policies")
async def list_page(request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime) -> Response:
    """List policies, newest first."""
    wanted = read_query(PolicyQuery, request, limit=_PAGE)
    found = await policies.list_policies(wanted, viewer.caller, session, runtime)
    asked = {name: request.query_params.get(name, "") for name in ("q", "status", "mode")}
    return page(
        request,
        "policies/list.html",
        viewer=viewer,
        found=found.items,
        asked=asked,
        filtered=any(asked.values()),
        done=done_message(request),
        since=audit_start(viewer, runtime),
        link=link,
        more=next_page(request, found.next_cursor),
        first=first_page(request),
    )


@router.get(f"{HOME}/{{policy_id}}", operation_id="page_show_policy")
async def show_page(
    policy_id: PolicyId, request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show a policy: its editor for writers, its text for other readers."""
    policy = await read_policy(policy_id, viewer, session, runtime)
    report = DraftReport(warnings=locate_warnings(policy.text, policy.warnings or []))
    more: dict[str, Any] = {"done": done_message(request), "since": audit_start(viewer, runtime)}
    if policy.status != "ended" and viewer.may("policies.write"):
        return await show_editor(request, Draft.of(policy), policy, viewer, session, report=report, **more)
    return page(
        request,
        "policies/show.html",
        viewer=viewer,
        it=policy,
        draft=Draft.of(policy),
        report=report,
        replayed=None,
        problems=None,
        link=link,
        **more,
    )


async def read_policy(policy_id: Any, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> PolicyView:
    """Read a policy, including an ended one for auditors. Raises ``NotFound``."""
    include: Any = "ended" if viewer.may("audit.read") else None
    return await policies.get_policy(policy_id, viewer.caller, session, runtime, Response(), include)


@router.get(f"{HOME}/{{policy_id}}/published", operation_id="page_show_published_policy")
async def published_page(
    policy_id: PolicyId, request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show the published version, and how the draft differs from it."""
    policy = await read_policy(policy_id, viewer, session, runtime)
    diff = None
    if policy.published_text is not None and policy.unpublished_changes:
        diff = await policies.diff_policy(policy_id, session, None, "draft")
    return page(
        request,
        "policies/published.html",
        viewer=viewer,
        it=policy,
        diff=diff,
        link=link,
        since=audit_start(viewer, runtime),
    )


@router.get(f"{HOME}/{{policy_id}}/versions", operation_id="page_list_policy_versions")
async def versions_page(
    policy_id: PolicyId, request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime
) -> Response:
    """List the published versions, newest first."""
    policy = await read_policy(policy_id, viewer, session, runtime)
    include: Any = "ended" if viewer.may("audit.read") else None
    wanted = read_query(PolicyVersionQuery, request, limit=_PAGE, include=include)
    found = await policies.list_policy_versions(policy_id, wanted, viewer.caller, session, runtime)
    return page(
        request,
        "policies/versions.html",
        viewer=viewer,
        it=policy,
        found=found.items,
        link=link,
        since=audit_start(viewer, runtime),
        more=next_page(request, found.next_cursor),
        first=first_page(request),
    )


Writer = Annotated[Viewer, require_viewer(Permission.POLICIES_WRITE)]
Sent = Annotated[Submission, require_submission(Permission.POLICIES_WRITE)]
Number = Annotated[int, Path(ge=1, le=999_999_999)]


@router.get(f"{HOME}/{{policy_id}}/publish", operation_id="page_ask_publish_policy")
async def ask_publish(
    policy_id: PolicyId, request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show the draft's difference and test results, and the form that publishes it."""
    return await _show_publish(policy_id, request, viewer, session, runtime)


@router.post(f"{HOME}/{{policy_id}}/publish", operation_id="page_publish_policy")
async def publish(
    policy_id: PolicyId, request: Request, submission: Sent, session: Session, runtime: CurrentRuntime
) -> Response:
    """Publish the draft at the revision that was shown."""
    viewer, form = submission.viewer, submission.form
    async with attempt_change(session) as attempt:
        change = await policies.publish_policy(
            policy_id, viewer.caller, session, runtime, request, ShownRevision.from_form(form), Response(),
            ignore_failed_tests=form.flag("ignore_failed_tests"), dry_run=False,
        )  # fmt: skip
    if attempt.problems:
        return await _show_publish(policy_id, request, viewer, session, runtime, attempt.problems)
    return _after(change, "published")


async def _show_publish(
    policy_id: Any,
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    problems: Problems | None = None,
) -> Response:
    policy = await policies.get_policy(policy_id, viewer.caller, session, runtime, Response())
    return page(
        request,
        "policies/publish.html",
        viewer=viewer,
        status=problems.status if problems else 200,
        it=policy,
        diff=await policies.diff_policy(policy_id, session, None, "draft"),
        test_report=await policies.test_policy(policy_id, session, runtime),
        warnings=locate_warnings(policy.text, policy.warnings or []),
        problems=problems,
        may_ignore=problems is not None and problems.code == "policy_tests_failed",
        link=link,
    )


def _after(change: PolicyChange, done: str) -> Response:
    return redirect(f"{link('policy', change.policy.id)}?done={done if change.changed else 'same'}")


@router.get(f"{HOME}/{{policy_id}}/versions/{{number}}", operation_id="page_show_policy_version")
async def version_page(
    policy_id: PolicyId,
    number: Number,
    request: Request,
    viewer: Annotated[Viewer, require_viewer(Permission.POLICIES_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """Show a published version, and how it differs from the current one."""
    return await _show_version(policy_id, number, request, viewer, session, runtime)


@router.post(f"{HOME}/{{policy_id}}/versions/{{number}}", operation_id="page_roll_back_policy")
async def roll_back(
    policy_id: PolicyId,
    number: Number,
    request: Request,
    submission: Sent,
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """Put an earlier version in force again."""
    viewer, form = submission.viewer, submission.form
    async with attempt_change(session) as attempt:
        change = await policies.roll_back_policy(
            policy_id, PolicyRollback(version=number), viewer.caller, session, runtime, request,
            ShownRevision.from_form(form), Response(),
            ignore_failed_tests=form.flag("ignore_failed_tests"), dry_run=False,
        )  # fmt: skip
    if attempt.problems:
        return await _show_version(policy_id, number, request, viewer, session, runtime, attempt.problems)
    return _after(change, "rolled-back")


async def _show_version(
    policy_id: Any,
    number: int,
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    problems: Problems | None = None,
) -> Response:
    policy = await read_policy(policy_id, viewer, session, runtime)
    include: Any = "ended" if viewer.may("audit.read") else None
    version = await policies.get_policy_version(policy_id, str(number), viewer.caller, session, include)
    diff = None
    if policy.status != "ended":
        now = "draft" if policy.published_text is None else str(policy.version)
        diff = await policies.diff_policy(policy_id, session, now, str(number))
    return page(
        request,
        "policies/version.html",
        viewer=viewer,
        status=problems.status if problems else 200,
        it=policy,
        version=version,
        diff=diff,
        decides=version.valid_to is None,
        problems=problems,
        may_ignore=problems is not None and problems.code == "policy_tests_failed",
        link=link,
    )


@router.get(f"{HOME}/{{policy_id}}/unpublish", operation_id="page_ask_unpublish_policy")
async def ask_unpublish(
    policy_id: PolicyId, request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show the consequences of unpublishing, and the form."""
    return await _ask(policy_id, "unpublish", request, viewer, session, runtime)


@router.post(f"{HOME}/{{policy_id}}/unpublish", operation_id="page_unpublish_policy")
async def unpublish(
    policy_id: PolicyId, request: Request, submission: Sent, session: Session, runtime: CurrentRuntime
) -> Response:
    """Unpublish a policy; its draft remains."""

    async def change(shown: ShownRevision) -> Response:
        caller = submission.viewer.caller
        changed = await policies.unpublish_policy(
            policy_id, caller, session, runtime, request, shown, Response()
        )
        return _after(changed, "unpublished")

    return await _do(policy_id, "unpublish", change, request, submission, session, runtime)


@router.get(f"{HOME}/{{policy_id}}/end", operation_id="page_ask_end_policy")
async def ask_end(
    policy_id: PolicyId, request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """Show the consequences of ending a policy, and the form."""
    return await _ask(policy_id, "end", request, viewer, session, runtime)


@router.post(f"{HOME}/{{policy_id}}/end", operation_id="page_end_policy")
async def end(
    policy_id: PolicyId, request: Request, submission: Sent, session: Session, runtime: CurrentRuntime
) -> Response:
    """End a policy; its history remains."""

    async def change(shown: ShownRevision) -> Response:
        caller = submission.viewer.caller
        await policies.delete_policy(policy_id, caller, session, runtime, request, shown, Response())
        return redirect(f"{HOME}?done=ended")

    return await _do(policy_id, "end", change, request, submission, session, runtime)


async def _do(
    policy_id: Any,
    what: str,
    change: Callable[[ShownRevision], Awaitable[Response]],
    request: Request,
    submission: Submission,
    session: AsyncSession,
    runtime: Runtime,
) -> Response:
    async with attempt_change(session) as attempt:
        done = await change(ShownRevision.from_form(submission.form))
    if attempt.problems:
        return await _ask(policy_id, what, request, submission.viewer, session, runtime, attempt.problems)
    return done


async def _ask(
    policy_id: Any,
    what: str,
    request: Request,
    viewer: Viewer,
    session: AsyncSession,
    runtime: Runtime,
    problems: Problems | None = None,
) -> Response:
    policy = await policies.get_policy(policy_id, viewer.caller, session, runtime, Response())
    return page(
        request,
        "policies/ending.html",
        viewer=viewer,
        status=problems.status if problems else 200,
        it=policy,
        what=what,
        problems=problems,
        link=link,
    )
