"""The home page: current numbers, pending approvals, expiring tokens, and the first steps of a new installation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Response

from app.adapters.console.context import PageContext, may_open
from app.adapters.console.display import format_time
from app.adapters.console.menu import HOME, first_page
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.audit import Chart, build_chart
from app.features.approvals import service as approvals
from app.features.approvals.schemas import ApprovalQuery, ApprovalView
from app.features.audit.schemas import AuditStatsQuery, AuditStatsView
from app.features.audit.stats import count_hours
from app.features.grants import service as grants
from app.features.grants.schemas import GrantQuery
from app.features.identities import service as identities
from app.features.identities.receipts import administrators_ended_by_directory
from app.features.identities.schemas import IdentityQuery
from app.features.invitations import service as invitations
from app.features.invitations.schemas import InvitationQuery, InvitationView
from app.features.servers import service as servers
from app.features.servers.schemas import ServerQuery
from app.features.tokens import service as tokens
from app.features.tokens.queries import count_active
from app.features.tokens.schemas import TokenQuery, TokenStatus, TokenView
from app.http.authorization import Permission
from app.http.pagination import Page

router = APIRouter(include_in_schema=False, route_class=PageRoute)

ENDS_IN_DAYS = 14
COUNTED = 100
"""The highest exact count; more are shown as "100+"."""
_FEW = 6


@dataclass(frozen=True, slots=True)
class Number:
    """A count, its label, and the list that it links to."""

    name: str
    value: str
    href: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One of the first steps."""

    name: str
    text: str
    href: str
    permission: str
    is_done: bool


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
    steps = await _first_steps(context)
    claimed = await _claimed(context)
    if not steps[-1].is_done:
        return context.page(
            "home/first.html", steps=steps, claimed=claimed, few=_FEW,
            names=await context.names([one.identity_id for one in claimed]),
        )  # fmt: skip
    stats = await _calls(context)
    waiting = await _waiting(context)
    ending = await _ending(context)
    ended = []
    if context.may(Permission.AUDIT_READ):
        since = context.now - timedelta(days=ENDS_IN_DAYS)
        ended = await administrators_ended_by_directory(context.session, since, _FEW)
    names = await context.names(
        {
            *(token.identity_id for token in ending.items),
            *(id for _, id, _ in ended),
            *(one.identity_id for one in claimed),
        }
    )
    return context.page(
        "home/home.html", ended=ended, claimed=claimed, names=names, few=_FEW,
        waiting=waiting.items[:_FEW], ending=ending.items[:_FEW],
        more_waiting=len(waiting.items) > _FEW, more_ending=len(ending.items) > _FEW, days=ENDS_IN_DAYS,
        numbers=await _numbers(context, stats, waiting), chart=_denied(stats),
    )  # fmt: skip


async def _first_steps(context: PageContext) -> Sequence[Step]:
    """The steps before a first token works; all are done once there is a token."""
    has_token = bool((await tokens.list_tokens(context.session, TokenQuery(limit=1), context.runtime)).items)
    done = [True] * 3
    if not has_token:
        session, runtime = context.session, context.runtime
        fleet = await servers.list_servers(session, context.caller, ServerQuery(limit=1), runtime)
        people = await identities.list_identities(session, IdentityQuery(limit=2), runtime)
        granted, _ = await grants.list_grants(session, context.caller, GrantQuery(limit=1), runtime)
        # The viewer is an identity too.
        done = [bool(fleet.items), len(people.items) > 1, bool(granted)]
    return (
        Step(
            "Register a server", "The MCP server that people or agents should reach. Its tools are read at once.",
            "/console/servers/new", "servers.write", done[0],
        ),
        Step(
            "Add a person or an agent", "Add them by hand, or let your directory provision them with SCIM.",
            "/console/identities/new", "identities.write", done[1],
        ),
        Step(
            "Grant access", "Choose which servers and tools they may use, and until when.",
            "/console/grants/new", "grants.write", done[2],
        ),
        Step(
            "Issue a token", "Paste it into the MCP client once. It never reaches further than the grants.",
            "/console/tokens/new", "tokens.issue", has_token,
        ),
    )  # fmt: skip


async def _calls(context: PageContext) -> AuditStatsView | None:
    if not context.may(Permission.AUDIT_READ):
        return None
    return await count_hours(context.session, AuditStatsQuery(action=["tool.call"]), context.now)


def _denied(stats: AuditStatsView | None) -> Chart | None:
    def address(since: datetime, until: datetime) -> str:
        return f"/console/audit?action=tool.call&decision=deny&since={format_time(since)}&until={format_time(until)}"

    return None if stats is None else build_chart(stats, address, refused_only=True)


async def _claimed(context: PageContext) -> Sequence[InvitationView]:
    """Claimed invitations that this viewer can confirm, and one more than are shown."""
    if not (context.may(Permission.IDENTITIES_WRITE) and context.may(Permission.GRANTS_WRITE)):
        return []
    query = InvitationQuery(status=["claimed"], limit=_FEW + 1)
    return (await invitations.list_invitations(context.session, query, context.runtime)).items


async def _waiting(context: PageContext) -> Page[ApprovalView]:
    query = ApprovalQuery(state=["pending"], limit=COUNTED)
    return await approvals.list_approvals(context.session, context.caller, query, context.runtime)


async def _ending(context: PageContext) -> Page[TokenView]:
    # Until the end of a day, as in the list of tokens.
    last = datetime.combine(context.now.date() + timedelta(days=ENDS_IN_DAYS + 1), time(), UTC)
    query = TokenQuery(status=[TokenStatus.ACTIVE], expires_before=last, sort="expires_at", limit=_FEW + 1)
    return await tokens.list_tokens(context.session, query, context.runtime)


async def _numbers(
    context: PageContext, stats: AuditStatsView | None, waiting: Page[ApprovalView]
) -> list[Number]:
    active = await count_active(context.session, COUNTED + 1)
    of_all = [
        Number("Active tokens", _up_to(active), "/console/tokens?status=active"),
        Number("Pending approvals", _capped(waiting), "/console/approvals"),
    ]
    if stats is not None:
        denied = stats.total.deny
        return [
            Number("Calls in 24 hours", f"{stats.total.count:,}", "/console/audit?action=tool.call&period=24h"),
            Number(
                "Denied calls in 24 hours", f"{denied:,}",
                "/console/audit?action=tool.call&decision=deny&period=24h", is_bad=bool(denied),
            ),
            *of_all,
        ]  # fmt: skip
    fleet = await servers.list_servers(
        context.session, context.caller, ServerQuery(status=["active"], limit=COUNTED), context.runtime
    )
    people = await identities.list_identities(
        context.session, IdentityQuery(status=["active"], limit=COUNTED), context.runtime
    )
    return [
        *of_all,
        Number("Active servers", _capped(fleet), "/console/servers?status=active"),
        Number("People and agents", _capped(people), "/console/identities?status=active"),
    ]


def _capped(found: Page[Any]) -> str:
    return _up_to(len(found.items) + bool(found.next_cursor))


def _up_to(number: int) -> str:
    return f"{COUNTED}+" if number > COUNTED else str(number)
