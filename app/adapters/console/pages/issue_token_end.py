"""Issuing a token, the last steps: its limits, the summary, and its secret, which is shown once."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.access.point_in_time import AccessReader
from app.adapters.console.context import PageContext, Submission, may_open
from app.adapters.console.forms import validate
from app.adapters.console.page import PageRoute, redirect
from app.adapters.console.pages.grants import describe_access
from app.adapters.console.pages.issue_token import NEW, Chosen, Issuer, draft_path, read_open_draft
from app.domain.errors import Invalid
from app.domain.risk import Risk
from app.features.audit.queries import first_use
from app.features.identities.queries import can_sign_in
from app.features.identities.service import find_identity
from app.features.tokens.drafts import (
    DraftContent,
    OfferedTool,
    Prospect,
    grants_for,
    issue_draft,
    prospect_of,
    read_draft,
    save_draft,
)
from app.features.tokens.schemas import PickupView, connect_settings
from app.features.tokens.service import IssuedToken, show_token
from app.http.authorization import Caller, Permission
from app.http.live import News, live_event
from app.http.selectors import reaches_by_default
from app.lib.ids import TOKEN, TokenDraftId, TokenId, format_id
from app.models.tokens import TokenDraft

router = APIRouter(include_in_schema=False, route_class=PageRoute)

PRESETS = (1, 7, 30, 90)
"""The offered lifetimes in days, as far as the configuration allows them."""
USUAL = 30
_PARTS = ("resources", "prompts")
_RISKS = ((Risk.READ, "only read"), (Risk.WRITE, "write"), (Risk.UNKNOWN, "of unknown risk"))


@router.get(NEW + "/{draft_id}", operation_id="page_token_draft")
async def show_draft(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Redirect to the first incomplete step; show that the token was issued if it was."""
    draft, content = await read_draft(context.session, context.caller, draft_id)
    if draft.token_id is not None:
        return await _issued_already(context, draft)
    return redirect(draft_path(draft, _missing(content) or "/summary"))


@router.get(NEW + "/{draft_id}/limits", operation_id="page_token_limits")
async def show_limits(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Show the form for the expiry, the allowed addresses and the delivery of the secret."""
    draft, content = await read_open_draft(context, draft_id)
    if _missing(content) in ("/who", "/tools"):
        return redirect(draft_path(draft, _missing(content)))
    return await _show_limits(context, draft, content)


@router.post(NEW + "/{draft_id}/limits", operation_id="page_keep_limits")
async def keep_limits(sent: Chosen, draft_id: TokenDraftId) -> Response:
    """Save the limits."""
    draft, content = await read_open_draft(sent, draft_id, hold=True)
    async with sent.attempt():
        changed = {
            "lasts": sent.form.text("lasts"),
            "expires_at": _end_of(sent),
            "ip_allow": sent.form.raw("ip_allow").split(),
            "delivery": sent.form.text("delivery"),
        }
        await save_draft(sent.session, draft, validate(DraftContent, content.model_dump() | changed))
    if sent.problems:
        return await _show_limits(sent, draft, content)
    return redirect(draft_path(draft, "/summary"))


@router.get(NEW + "/{draft_id}/summary", operation_id="page_token_summary")
async def show_summary(context: Issuer, draft_id: TokenDraftId) -> Response:
    """Show what is about to be issued."""
    draft, content = await read_draft(context.session, context.caller, draft_id)
    if draft.token_id is not None:  # As after going back from the secret.
        return await _issued_already(context, draft)
    missing = _missing(content)
    if missing:
        return redirect(draft_path(draft, missing))
    return await _show_summary(context, AccessReader(context.session, context.snapshot), draft, content)


@router.get(
    NEW + "/{draft_id}/issue",
    operation_id="page_token_issued",
    dependencies=[may_open(Permission.TOKENS_ISSUE)],
)
async def show_issued(draft_id: TokenDraftId) -> Response:
    """Redirect from the address of the secret, which only the POST's response shows."""
    return redirect(f"{NEW}/{format_id('drf', draft_id)}")


@router.post(NEW + "/{draft_id}/issue", operation_id="page_issue_token")
async def issue(sent: Chosen, draft_id: TokenDraftId) -> Response:
    """Issue the token. Only this response contains the secret; a repeated POST shows that it was issued."""
    draft, content = await read_draft(sent.session, sent.caller, draft_id, hold=True)
    if draft.token_id is not None:
        return await _issued_already(sent, draft)
    reader, confirmed = AccessReader(sent.session, sent.snapshot), sent.form.text("mark")
    async with sent.attempt():
        issued = await issue_draft(sent.change, draft, content, confirmed, reader, sent.runtime)
    if sent.problems:
        return await _show_summary(sent, reader, draft, content)
    return await _show_secret(sent, issued)


@router.get("/console/tokens/{token_id}/first-use/live", operation_id="page_first_use")
async def watch_first_use(
    context: Annotated[PageContext, may_open(Permission.TOKENS_READ)], token_id: TokenId
) -> Response:
    """Stream the progress of a token's first use until a call is allowed."""
    await show_token(context.session, token_id)
    last: Any = "nothing"

    async def look(session: AsyncSession, caller: Caller) -> News:  # noqa: ARG001 - tokens.read sees all
        nonlocal last
        found = await first_use(session, token_id)
        if found == last:
            return News()
        last = found
        is_last = found is not None and found.kind == "called"
        light = context.page("tokens/light.html", use=found, token_id=format_id(TOKEN, token_id))
        events = [live_event(bytes(light.body).decode())]
        if is_last:
            events.append(live_event("", name="ended"))
        return News(events, is_last=is_last)

    return context.runtime.live.stream(
        context.request, context.caller, Permission.TOKENS_READ, context.console.authenticate, look
    )


def _missing(content: DraftContent) -> str:
    """The path of the first incomplete step; empty when all are complete."""
    if content.identity_id is None or not content.name:
        return "/who"
    if not content.servers:
        return "/tools"
    return "" if content.expires_at is not None else "/limits"


def _end_of(sent: Submission) -> datetime:
    """The chosen expiry. Raises ``Invalid``."""
    now, lasts = sent.now, sent.form.text("lasts")
    latest = now + sent.runtime.max_token_ttl
    if lasts == "date":
        try:
            end = datetime.combine(date.fromisoformat(sent.form.text("date")), time(23, 59), UTC)
        except ValueError:
            raise Invalid.field("/expires_at", "date", "Choose a date.") from None
    elif lasts in {str(days) for days in PRESETS}:
        end = (now + timedelta(days=int(lasts))).replace(second=0, microsecond=0)
    else:
        raise Invalid.field("/expires_at", "missing", "Choose when the token expires.")
    if end <= now:
        raise Invalid.field("/expires_at", "in_the_past", "This day is in the past. Choose a later one.")
    if end > latest:
        # The last allowed day can be chosen; the token then expires at the maximum lifetime.
        if end.date() > latest.date():
            raise Invalid.field("/expires_at", "too_late", f"The latest possible day is {latest:%-d %b %Y}.")
        end = latest.replace(second=0, microsecond=0)
    return end


async def _show_limits(context: PageContext, draft: TokenDraft, content: DraftContent) -> Response:
    assert content.identity_id is not None  # noqa: S101  # The first step is complete.
    now, longest = context.now, context.runtime.max_token_ttl
    presets = [(days, now + timedelta(days=days)) for days in PRESETS if timedelta(days=days) <= longest]
    form, shortest = context.form, str(presets[-1][0]) if presets else "date"
    usual = content.lasts or (str(USUAL) if timedelta(days=USUAL) <= longest else shortest)
    saved_date = "" if content.expires_at is None else f"{content.expires_at:%Y-%m-%d}"
    identity = await find_identity(context.session, content.identity_id)
    recipient = identity.owner_id or identity.id
    return context.page(
        "tokens/limits.html", path_of=draft_path(draft), content=content, presets=presets,
        lasts=form.text("lasts") if form else usual,
        date=form.text("date") if form else saved_date,
        ip_allow=form.raw("ip_allow") if form else "\n".join(content.ip_allow),
        delivery=form.text("delivery") if form else content.delivery,
        soonest=now.date(), latest=now + longest, days=longest.days,
        who=identity.display_name or identity.user_name,
        recipient=await context.name(recipient, "its owner"),
        recipient_id=recipient, can_pick_up=await can_sign_in(context.session, recipient),
        pickup_hours=int(context.runtime.pickup_ttl.total_seconds() // 3600),
    )  # fmt: skip


async def _show_summary(
    context: PageContext, reader: AccessReader, draft: TokenDraft, content: DraftContent
) -> Response:
    assert content.identity_id is not None  # noqa: S101  # The first step is complete.
    identity = await find_identity(context.session, content.identity_id)
    prospect = await prospect_of(context.session, reader, content)
    tools = [tool for server in prospect.servers for tool in server.tools]
    recipient = identity.owner_id or identity.id
    return context.page(
        "tokens/summary.html", path_of=draft_path(draft), content=content, prospect=prospect,
        identity=identity, who=identity.display_name or identity.user_name,
        grants=_describe_grants(content, prospect), kinds=_kinds(tools),
        recipient=await context.name(recipient, "its owner"),
        total=len(tools), reached=sum(1 for one in prospect.servers if one.slug and one.tools),
        destructive=sum(tool.risk is Risk.DESTRUCTIVE for tool in tools),
        asked=sum(tool.needs_approval for tool in tools),
    )  # fmt: skip


def _describe_grants(content: DraftContent, prospect: Prospect) -> list[str]:
    """Describe each grant that is created with the token."""
    slugs = {one.chosen.server_id: one.slug or "a server" for one in prospect.servers}
    made = grants_for(content, prospect.needing)
    return [
        describe_access(one.model_copy(update=dict.fromkeys(_PARTS, reaches_by_default(one.tools))), slugs)
        for one in made
    ]


def _kinds(tools: Sequence[OfferedTool]) -> list[str]:
    """How many tools there are of each risk except destructive, which has its own message."""
    counts = [(sum(tool.risk is risk for tool in tools), words) for risk, words in _RISKS]
    return [f"{count} {words}" for count, words in counts if count]


async def _show_secret(context: PageContext, issued: IssuedToken) -> Response:
    identity = await find_identity(context.session, issued.token.identity_id)
    pickup, public_url = None, context.runtime.public_url
    if issued.pickup is not None:
        pickup = PickupView.from_reading(issued.pickup, public_url)
    return context.page(
        "tokens/secret.html", token=issued.token, secret=issued.secret, pickup=pickup,
        who=identity.display_name or identity.user_name,
        recipient=await context.name(pickup.recipient_id if pickup else None, ""),
        connect=connect_settings(public_url), rotated=False, use=None,
    )  # fmt: skip


async def _issued_already(context: PageContext, draft: TokenDraft) -> Response:
    assert draft.token_id is not None  # noqa: S101  # The caller has checked it.
    token = await show_token(context.session, draft.token_id)
    return context.page("tokens/issued_already.html", token=token, status=409)
