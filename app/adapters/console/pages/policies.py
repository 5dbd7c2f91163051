"""Policies: the list, one policy with its draft and what is published of it, and its past."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import first_page, next_page, read_query
from app.adapters.console.page import PageRoute, page
from app.adapters.console.pages.grant_words import link
from app.adapters.console.pages.policy_draft import Draft, Looked, located
from app.adapters.console.pages.policy_editor import HOME, show_editor
from app.adapters.console.signed_in import Viewer, signed_in
from app.features.policies import routes as policies
from app.features.policies.schemas import PolicyQuery, PolicyVersionQuery, PolicyView
from app.http.authorization import Permission
from app.http.runtime import CurrentRuntime, Runtime
from app.http.transaction import Session
from app.lib.ids import PolicyId

_PAGE = 25
_LOOK_BACK = timedelta(days=30)
_DONE = {
    "created": "The draft is kept. It decides nothing until it is published.",
    "saved": "The draft is kept. What is published goes on deciding as it does.",
    "published": "It is published. Every call that starts now is decided by it.",
    "unpublished": "It decides nothing any more. The draft and the versions stay.",
    "rolled-back": "The earlier version decides again, under a new number.",
    "ended": "The policy has ended. It decides nothing any more.",
    "same": "Nothing was changed: what decides is that already.",
}
router = APIRouter(include_in_schema=False, route_class=PageRoute)
CanRead = Annotated[Viewer, signed_in(Permission.POLICIES_READ)]


def done_of(request: Request) -> str | None:
    """What to say of the change that led here."""
    return _DONE.get(request.query_params.get("done", ""))


def audited_since(viewer: Viewer, runtime: Runtime) -> str:
    """From when on links into the audit log look; empty for a viewer who may not read it."""
    if not viewer.may("audit.read"):
        return ""
    return (runtime.clock() - _LOOK_BACK).strftime("%Y-%m-%dT00:00:00Z")


@router.get(HOME, operation_id="page_list_policies")
async def list_page(request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime) -> Response:
    """Policies, newest first: what decides, what is on trial, and what is only a draft."""
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
        done=done_of(request),
        since=audited_since(viewer, runtime),
        link=link,
        more=next_page(request, found.next_cursor),
        first=first_page(request),
    )


@router.get(f"{HOME}/{{policy_id}}", operation_id="page_show_policy")
async def show_page(
    policy_id: PolicyId, request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime
) -> Response:
    """One policy: its editor for those who may write it, its text for the others."""
    policy = await read_policy(policy_id, viewer, session, runtime)
    looked = Looked(warnings=located(policy.text, policy.warnings or []))
    more: dict[str, Any] = {"done": done_of(request), "since": audited_since(viewer, runtime)}
    if policy.status != "ended" and viewer.may("policies.write"):
        return await show_editor(request, Draft.of(policy), policy, viewer, session, looked=looked, **more)
    return page(
        request,
        "policies/show.html",
        viewer=viewer,
        it=policy,
        draft=Draft.of(policy),
        looked=looked,
        replayed=None,
        problems=None,
        link=link,
        **more,
    )


async def read_policy(policy_id: Any, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> PolicyView:
    """The policy, an ended one to those who audit. Raises ``NotFound``."""
    include: Any = "ended" if viewer.may("audit.read") else None
    return await policies.get_policy(policy_id, viewer.caller, session, runtime, Response(), include)


@router.get(f"{HOME}/{{policy_id}}/published", operation_id="page_show_published_policy")
async def published_page(
    policy_id: PolicyId, request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime
) -> Response:
    """What decides, and how the draft differs from it."""
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
        since=audited_since(viewer, runtime),
    )


@router.get(f"{HOME}/{{policy_id}}/versions", operation_id="page_list_policy_versions")
async def versions_page(
    policy_id: PolicyId, request: Request, viewer: CanRead, session: Session, runtime: CurrentRuntime
) -> Response:
    """What was published of it, newest first."""
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
        since=audited_since(viewer, runtime),
        more=next_page(request, found.next_cursor),
        first=first_page(request),
    )
