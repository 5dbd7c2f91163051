"""Policies: the list, the editor, published versions, and publishing, rolling back and ending a policy."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Response

from app.adapters.console.context import PageContext, Submission, may_open, may_submit, on_refusal
from app.adapters.console.display import link
from app.adapters.console.forms import Form, Problems, validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages import policy_draft
from app.domain.errors import TooManyRequests
from app.features.policies import schemas, service
from app.features.policies.schemas import PolicyView
from app.features.policies.simulate import MAX_WINDOW, PolicySimulation, SimulateRequest, simulate
from app.features.policies.templates import list_templates
from app.http.authorization import Permission
from app.http.pagination import Page
from app.http.requests import BODY_LIMIT
from app.lib.ids import PolicyId

router = APIRouter(include_in_schema=False, route_class=PageRoute)
HOME = "/console/policies"
NEW = f"{HOME}/new"
SPANS = (1, 7, 14, MAX_WINDOW.days)
"""The offered numbers of days whose calls are replayed."""
_SHOWN = 50
CanWrite = Annotated[Submission, may_submit(Permission.POLICIES_WRITE, max_bytes=BODY_LIMIT)]
_PAGE = 25
_TEST_FIELDS = ("test_name", "test_server", "test_tool", "test_arguments", "test_expect")
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
CanRead = Annotated[PageContext, may_open(Permission.POLICIES_READ)]
Writer = Annotated[PageContext, may_open(Permission.POLICIES_WRITE)]
Sent = Annotated[Submission, may_submit(Permission.POLICIES_WRITE)]
Number = Annotated[int, Path(ge=1, le=999_999_999)]


@router.get(NEW, operation_id="page_new_policy")
async def new_page(context: Writer) -> Response:
    """Show the templates, the form of a template, or the editor."""
    chosen = context.param("template")
    if chosen == "blank":
        return await show_editor(context, policy_draft.Draft(), None)
    if chosen:
        return await policy_draft.show_template_form(context, chosen)
    return await context.page("policies/new.html", names={}, templates=list_templates())


@router.post(NEW, operation_id="page_create_policy")
async def create(sent: CanWrite) -> Response:
    """Render a template, check a draft, or create the policy."""
    form = sent.form
    if form.text("do") == "fill":
        async with sent.attempt():
            draft = await policy_draft.fill_template(sent)
        if sent.problems:
            return await policy_draft.show_template_form(sent, form.text("template"))
        return await show_editor(sent, draft, None, unsaved=True)
    draft = policy_draft.Draft.typed(form)
    if form.text("do") != "save":
        return await _review(sent, draft, None)
    async with sent.attempt():
        made = await service.create_policy(sent.change, validate(schemas.PolicyCreate, draft.fields))
    if sent.problems:
        return await show_editor(sent, draft, None)
    return redirect(f"{link('policy', made.id)}?done=created")


@router.post(f"{HOME}/{{policy_id}}", operation_id="page_update_policy")
async def update(sent: CanWrite, policy_id: PolicyId) -> Response:
    """Check a draft, or save it."""
    policy = await _read_live(sent, policy_id)
    draft = policy_draft.Draft.typed(sent.form)
    if sent.form.text("do") != "save":
        return await _review(sent, draft, policy)
    async with sent.attempt():
        await service.update_policy(
            sent.change, policy_id, validate(schemas.PolicyUpdate, draft.fields), sent.shown
        )
    if sent.problems:
        return await show_editor(sent, draft, policy)
    return redirect(f"{link('policy', policy_id)}?done=saved")


async def _review(sent: Submission, draft: policy_draft.Draft, policy: PolicyView | None) -> Response:
    """Show the editor with the check's results; nothing is saved."""
    report, replayed, step = policy_draft.DraftReport(), None, sent.form.text("do")
    try:
        async with sent.attempt():
            if step == "add_test":
                draft.add_test(sent.form)
            report = await policy_draft.review_draft(sent, draft, policy)
            if step == "replay":
                days = sent.form.text("days") or str(SPANS[1])
                # In enforce mode, since observe mode would change no decision.
                change = {"text": draft.text, "mode": "enforce"} | (
                    {"policy_id": policy.id} if policy else {}
                )
                asked = {
                    "changes": [change],
                    "days": int(days) if days.isdecimal() else days,
                    "limit": _SHOWN,
                }
                request = validate(SimulateRequest, asked)
                replayed = await simulate(sent.change, sent.runtime, sent.snapshot, request)
    except TooManyRequests as busy:
        sent.problems = Problems(busy)
    return await show_editor(sent, draft, policy, report=report, replayed=replayed)


async def show_editor(
    context: PageContext,
    draft: policy_draft.Draft,
    policy: PolicyView | None,
    *,
    report: policy_draft.DraftReport | None = None,
    replayed: PolicySimulation | None = None,
    unsaved: bool = False,
) -> Response:
    """Show the editor; without a report and problems, as it is first opened."""
    form, step = context.form, context.form.text("do")
    if context.problems:
        errors = policy_draft.locate_errors(draft.text, context.problems.errors)
        report = policy_draft.DraftReport(errors=errors)
    # The small form is emptied after its test was added.
    kept = Form() if step == "add_test" and not context.problems else form
    return await _page(
        context,
        "policies/editor.html",
        policy,
        draft=draft,
        report=report,
        replayed=replayed,
        names={} if replayed is None else await context.names(replayed),
        days=form.text("days") or str(SPANS[1]),
        spans=[(str(days), "1 day" if days == 1 else f"{days} days") for days in SPANS],
        typed={name: kept.raw(name) for name in _TEST_FIELDS},
        revision=form.text("revision") or (None if policy is None else policy.revision),
        action=NEW if policy is None else link("policy", policy.id),
        step=step,
        unsaved=unsaved or bool(step or context.problems),
    )


async def _page(
    context: PageContext,
    template: str,
    policy: PolicyView | None,
    /,
    *listed: Page[Any],
    names: Mapping[UUID, str] | None = None,
    **values: Any,
) -> Response:
    """Show a page of a policy; ``since`` is the start time of its links into the audit log, for their readers."""
    since = f"{context.now - _LOOK_BACK:%Y-%m-%dT00:00:00Z}" if context.may("audit.read") else ""
    return await context.page(
        template, *listed, names=names or {}, it=policy, done=_DONE, since=since, **values
    )


@router.get(HOME, operation_id="page_list_policies")
async def list_page(context: CanRead) -> Response:
    """List policies, newest first."""
    wanted = context.query(schemas.PolicyQuery, limit=_PAGE)
    found = await service.list_policies(context.session, context.caller, wanted, context.runtime)
    asked = {name: context.param(name) for name in ("q", "status", "mode")}
    return await _page(context, "policies/list.html", None, found, asked=asked)


@router.get(f"{HOME}/{{policy_id}}", operation_id="page_show_policy")
async def show_page(context: CanRead, policy_id: PolicyId) -> Response:
    """Show a policy: its editor for writers, its text for other readers."""
    policy = await read_policy(context, policy_id)
    draft, warnings = policy_draft.Draft.of(policy), policy.warnings or []
    report = policy_draft.DraftReport(warnings=policy_draft.locate_warnings(policy.text, warnings))
    if policy.status != "ended" and context.may("policies.write"):
        return await show_editor(context, draft, policy, report=report)
    return await _page(context, "policies/show.html", policy, draft=draft, report=report, replayed=None)


async def read_policy(context: PageContext, policy_id: Any) -> PolicyView:
    """Read a policy, including an ended one for auditors. Raises ``NotFound``."""
    ended = context.may("audit.read")
    policy = await service.get_policy(context.session, context.caller, policy_id, ended=ended)
    return await service.show(context.session, context.runtime, policy)


async def _read_live(context: PageContext, policy_id: Any) -> PolicyView:
    policy = await service.get_policy(context.session, context.caller, policy_id)
    return await service.show(context.session, context.runtime, policy)


@router.get(f"{HOME}/{{policy_id}}/published", operation_id="page_show_published_policy")
async def published_page(context: CanRead, policy_id: PolicyId) -> Response:
    """Show the published version, and how the draft differs from it."""
    policy = await read_policy(context, policy_id)
    diff = None
    if policy.published_text is not None and policy.unpublished_changes:
        diff = await service.compare(context.session, context.caller, policy_id)
    return await _page(context, "policies/published.html", policy, diff=diff)


@router.get(f"{HOME}/{{policy_id}}/versions", operation_id="page_list_policy_versions")
async def versions_page(context: CanRead, policy_id: PolicyId) -> Response:
    """List the published versions, newest first."""
    policy = await read_policy(context, policy_id)
    include: Any = "ended" if context.may("audit.read") else None
    wanted = context.query(schemas.PolicyVersionQuery, limit=_PAGE, include=include)
    found = await service.list_versions(context.session, context.caller, policy_id, wanted, context.runtime)
    return await _page(context, "policies/versions.html", policy, found)


@router.get(f"{HOME}/{{policy_id}}/publish", operation_id="page_ask_publish_policy")
async def ask_publish(context: Writer, policy_id: PolicyId) -> Response:
    """Show the draft's difference and test results, and the form that publishes it."""
    policy = await _read_live(context, policy_id)
    return await context.page(
        "policies/publish.html",
        names={},
        it=policy,
        diff=await service.compare(context.session, context.caller, policy_id),
        test_report=await service.report_tests(context.session, context.caller, policy_id, context.runtime),
        warnings=policy_draft.locate_warnings(policy.text, policy.warnings or []),
    )


@router.post(f"{HOME}/{{policy_id}}/publish", operation_id="page_publish_policy")
@on_refusal(ask_publish)
async def publish(sent: Sent, policy_id: PolicyId) -> Response:
    """Publish the draft at the revision that was shown."""
    ignore = sent.form.flag("ignore_failed_tests")
    change = await service.publish(sent.change, sent.runtime, policy_id, sent.shown, ignore_failures=ignore)
    return _after(change, "published")


def _after(change: schemas.PolicyChange, done: str) -> Response:
    return redirect(f"{link('policy', change.policy.id)}?done={done if change.changed else 'same'}")


@router.get(f"{HOME}/{{policy_id}}/versions/{{number}}", operation_id="page_show_policy_version")
async def version_page(context: CanRead, policy_id: PolicyId, number: Number) -> Response:
    """Show a published version, and how it differs from the current one."""
    ended = context.may("audit.read")
    row = await service.get_policy(context.session, context.caller, policy_id, ended=ended)
    policy = await service.show(context.session, context.runtime, row)
    version = schemas.PolicyVersionView.from_row(await service.get_version(context.session, row, number))
    diff = None
    if policy.status != "ended":
        now = "draft" if policy.published_text is None else str(policy.version)
        diff = await service.compare(context.session, context.caller, policy_id, now, str(number))
    return await context.page("policies/version.html", names={}, it=policy, version=version, diff=diff)


@router.post(f"{HOME}/{{policy_id}}/versions/{{number}}", operation_id="page_roll_back_policy")
@on_refusal(version_page)
async def roll_back(sent: Sent, policy_id: PolicyId, number: Number) -> Response:
    """Put an earlier version in force again."""
    ignore = sent.form.flag("ignore_failed_tests")
    change = await service.roll_back(
        sent.change, sent.runtime, policy_id, number, sent.shown, ignore_failures=ignore
    )
    return _after(change, "rolled-back")


@router.get(f"{HOME}/{{policy_id}}/unpublish", operation_id="page_ask_unpublish_policy")
async def ask_unpublish(context: Writer, policy_id: PolicyId) -> Response:
    """Show the consequences of unpublishing, and the form."""
    policy = await _read_live(context, policy_id)
    return await context.page("policies/ending.html", names={}, it=policy, what="unpublish")


@router.post(f"{HOME}/{{policy_id}}/unpublish", operation_id="page_unpublish_policy")
@on_refusal(ask_unpublish)
async def unpublish(sent: Sent, policy_id: PolicyId) -> Response:
    """Unpublish a policy; its draft remains."""
    changed = await service.unpublish(sent.change, sent.runtime, policy_id, sent.shown)
    return _after(changed, "unpublished")


@router.get(f"{HOME}/{{policy_id}}/end", operation_id="page_ask_end_policy")
async def ask_end(context: Writer, policy_id: PolicyId) -> Response:
    """Show the consequences of ending a policy, and the form."""
    policy = await _read_live(context, policy_id)
    return await context.page("policies/ending.html", names={}, it=policy, what="end")


@router.post(f"{HOME}/{{policy_id}}/end", operation_id="page_end_policy")
@on_refusal(ask_end)
async def end(sent: Sent, policy_id: PolicyId) -> Response:
    """End a policy; its history remains."""
    await service.end_policy(sent.change, policy_id, sent.shown)
    return redirect(f"{HOME}?done=ended")
