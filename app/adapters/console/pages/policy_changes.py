"""What changes what decides: publishing a draft, taking it back, an earlier version again, the end of a policy."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import AsShown, Problems, attempted
from app.adapters.console.page import PageRoute, page, redirect
from app.adapters.console.pages.grant_words import link
from app.adapters.console.pages.policies import read_policy
from app.adapters.console.pages.policy_draft import located
from app.adapters.console.pages.policy_editor import HOME
from app.adapters.console.signed_in import Submission, Viewer, signed_in, submitted
from app.features.policies import publish_routes as publishing
from app.features.policies import routes as policies
from app.features.policies.schemas import PolicyChange, PolicyRollback
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import PolicyId

router = APIRouter(include_in_schema=False, route_class=PageRoute)
Writer = Annotated[Viewer, signed_in(Permission.POLICIES_WRITE)]
Sent = Annotated[Submission, submitted(Permission.POLICIES_WRITE)]
Number = Annotated[int, Path(ge=1, le=999_999_999)]


@router.get(f"{HOME}/{{policy_id}}/publish", operation_id="page_ask_publish_policy")
async def ask_publish(
    policy_id: PolicyId, request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """How the draft differs from what decides, and how its tests go; and the form that publishes it."""
    return await _show_publish(policy_id, request, viewer, session, runtime)


@router.post(f"{HOME}/{{policy_id}}/publish", operation_id="page_publish_policy")
async def publish(
    policy_id: PolicyId, request: Request, submission: Sent, session: Session, runtime: CurrentRuntime
) -> Response:
    """Let the draft decide, as it was shown."""
    viewer, form = submission.viewer, submission.form
    async with attempted(session) as attempt:
        change = await publishing.publish_policy(
            policy_id, viewer.caller, session, runtime, request, AsShown.by(form), Response(),
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
        report=await publishing.test_policy(policy_id, session, runtime),
        warnings=located(policy.text, policy.warnings or []),
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
    viewer: Annotated[Viewer, signed_in(Permission.POLICIES_READ)],
    session: Session,
    runtime: CurrentRuntime,
) -> Response:
    """What was published under a number, and how what decides now differs from it."""
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
    """Let this version decide again."""
    viewer, form = submission.viewer, submission.form
    async with attempted(session) as attempt:
        change = await publishing.roll_back_policy(
            policy_id, PolicyRollback(version=number), viewer.caller, session, runtime, request,
            AsShown.by(form), Response(), ignore_failed_tests=form.flag("ignore_failed_tests"), dry_run=False,
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
    """What it means that a policy decides nothing any more, and the form."""
    return await _ask(policy_id, "unpublish", request, viewer, session, runtime)


@router.post(f"{HOME}/{{policy_id}}/unpublish", operation_id="page_unpublish_policy")
async def unpublish(
    policy_id: PolicyId, request: Request, submission: Sent, session: Session, runtime: CurrentRuntime
) -> Response:
    """Let it decide nothing any more; its draft stays."""

    async def change(shown: AsShown) -> Response:
        caller = submission.viewer.caller
        changed = await publishing.unpublish_policy(
            policy_id, caller, session, runtime, request, shown, Response()
        )
        return _after(changed, "unpublished")

    return await _do(policy_id, "unpublish", change, request, submission, session, runtime)


@router.get(f"{HOME}/{{policy_id}}/end", operation_id="page_ask_end_policy")
async def ask_end(
    policy_id: PolicyId, request: Request, viewer: Writer, session: Session, runtime: CurrentRuntime
) -> Response:
    """What it means that a policy ends, and the form."""
    return await _ask(policy_id, "end", request, viewer, session, runtime)


@router.post(f"{HOME}/{{policy_id}}/end", operation_id="page_end_policy")
async def end(
    policy_id: PolicyId, request: Request, submission: Sent, session: Session, runtime: CurrentRuntime
) -> Response:
    """End a policy; its past stays."""

    async def change(shown: AsShown) -> Response:
        caller = submission.viewer.caller
        await policies.delete_policy(policy_id, caller, session, runtime, request, shown, Response())
        return redirect(f"{HOME}?done=ended")

    return await _do(policy_id, "end", change, request, submission, session, runtime)


async def _do(
    policy_id: Any,
    what: str,
    change: Callable[[AsShown], Awaitable[Response]],
    request: Request,
    submission: Submission,
    session: AsyncSession,
    runtime: Runtime,
) -> Response:
    async with attempted(session) as attempt:
        done = await change(AsShown.by(submission.form))
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
