"""The home page: current numbers, pending approvals, expiring tokens, and the first steps of a new installation."""

from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, may_open
from app.adapters.console.display import format_time
from app.adapters.console.menu import HOME, first_page
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.audit import build_chart
from app.features.approvals import service as approvals
from app.features.approvals.schemas import ApprovalQuery, ApprovalView
from app.features.audit.schemas import AuditStatsQuery, AuditStatsView
from app.features.audit.stats import count_hours
from app.features.grants import service as grants
from app.features.grants.schemas import GrantQuery
from app.features.identities import service as identities
from app.features.identities.schemas import IdentityQuery
from app.features.invitations import service as invitations
from app.features.invitations.schemas import InvitationQuery, InvitationView
from app.features.offboarding.receipts import administrators_ended_by_directory
from app.features.servers import service as servers
from app.features.servers.schemas import ServerQuery
from app.features.tokens import service as tokens
from app.features.tokens.queries import count_active
from app.features.tokens.schemas import TokenQuery, TokenStatus
from app.http.authorization import Permission
from app.http.pagination import Page

router = APIRouter(include_in_schema=False, route_class=PageRoute)

ENDS_IN_DAYS = 14
COUNTED = 100
"""The highest exact count; more are shown as "100+"."""
_FEW = 6


class Number(NamedTuple):
    """A count, its label, and the list that it links to."""

    name: str
    value: str
    href: str
    is_bad: bool = False


@router.get("/", operation_id="lead_home")
async def lead_home() -> Response:
    """Redirect the service's root to the console."""
    return redirect(HOME)


@router.get(HOME, operation_id="page_home")
async def show_home(context: Annotated[PageContext, may_open(Permission.SELF_READ)]) -> Response:
    """Show the home page; callers without a role are redirected to "My access"."""
    begin = first_page(context.caller)
    if begin != HOME:
        return redirect(begin)
    session, runtime, claimed = context.session, context.runtime, list[InvitationView]()
    if context.may(Permission.IDENTITIES_WRITE) and context.may(Permission.GRANTS_WRITE):
        # One more than are shown.
        mine = InvitationQuery(status=["claimed"], limit=_FEW + 1)
        claimed = (await invitations.list_invitations(session, mine, runtime)).items
    if not (await tokens.list_tokens(session, TokenQuery(limit=1), runtime)).items:
        steps = await _first_steps(context)
        return await context.page("home/first.html", steps_done=steps, claimed=claimed, few=_FEW)
    stats, ended = None, []
    if context.may(Permission.AUDIT_READ):
        stats = await count_hours(session, AuditStatsQuery(action=["tool.call"]), context.now)
        since = context.now - timedelta(days=ENDS_IN_DAYS)
        ended = await administrators_ended_by_directory(session, since, _FEW)
    pending = ApprovalQuery(state=["pending"], limit=COUNTED)
    waiting = await approvals.list_approvals(session, context.caller, pending, runtime)
    last = context.day_end(ENDS_IN_DAYS)
    query = TokenQuery(status=[TokenStatus.ACTIVE], expires_before=last, sort="expires_at", limit=_FEW + 1)
    ending = (await tokens.list_tokens(session, query, runtime)).items
    return await context.page(
        "home/home.html", ended=ended, claimed=claimed, few=_FEW,
        waiting=waiting.items[:_FEW], ending=ending[:_FEW],
        more_waiting=len(waiting.items) > _FEW, more_ending=len(ending) > _FEW, days=ENDS_IN_DAYS,
        numbers=await _numbers(context, stats, waiting), chart=stats and build_chart(stats, _denied, refused_only=True),
    )  # fmt: skip


async def _first_steps(context: PageContext) -> list[bool]:
    """Whether each of the steps to a first token is done: a server, another identity, and a grant."""
    session, runtime = context.session, context.runtime
    fleet = await servers.list_servers(session, context.caller, ServerQuery(limit=1), runtime)
    people = await identities.list_identities(session, IdentityQuery(limit=2), runtime)
    granted, _ = await grants.list_grants(session, context.caller, GrantQuery(limit=1), runtime)
    # The viewer is an identity too.
    return [bool(fleet.items), len(people.items) > 1, bool(granted)]


def _denied(since: datetime, until: datetime) -> str:
    """The denied calls of a time range in the audit log."""
    return (
        f"/console/audit?action=tool.call&decision=deny&since={format_time(since)}&until={format_time(until)}"
    )


async def _numbers(
    context: PageContext, stats: AuditStatsView | None, waiting: Page[ApprovalView]
) -> list[Number]:
    """Current counts. Readers of the audit log see calls; others see servers and identities."""
    active = await count_active(context.session, COUNTED + 1)
    of_all = [
        Number("Active tokens", _up_to(active), "/console/tokens?status=active"),
        Number("Pending approvals", _capped(waiting), "/console/approvals"),
    ]
    calls = "/console/audit?action=tool.call"
    if stats is not None:
        denied = stats.total.deny
        return [
            Number("Calls in 24 hours", f"{stats.total.count:,}", f"{calls}&period=24h"),
            Number(
                "Denied calls in 24 hours",
                f"{denied:,}",
                f"{calls}&decision=deny&period=24h",
                is_bad=denied > 0,
            ),
            *of_all,
        ]
    active_servers = ServerQuery(status=["active"], limit=COUNTED)
    fleet = await servers.list_servers(context.session, context.caller, active_servers, context.runtime)
    active_people = IdentityQuery(status=["active"], limit=COUNTED)
    people = await identities.list_identities(context.session, active_people, context.runtime)
    return [
        *of_all,
        Number("Active servers", _capped(fleet), "/console/servers?status=active"),
        Number("People and agents", _capped(people), "/console/identities?status=active"),
    ]


def _capped(found: Page[Any]) -> str:
    return _up_to(len(found.items) + bool(found.next_cursor))


def _up_to(number: int) -> str:
    return f"{COUNTED}+" if number > COUNTED else str(number)
