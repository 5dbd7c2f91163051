"""What the form of a grant offers: those who can hold it, servers and tools, what is chosen always among them."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import Form, validated
from app.adapters.console.pages.grant_wish import PRESETS, Wish
from app.adapters.console.pages.principals import LONGEST, find_principals, find_servers
from app.adapters.console.signed_in import Viewer
from app.domain.risk import Risk
from app.features.audit.names import names_of
from app.features.audit.schemas import show_id
from app.features.tools import routes as tools
from app.features.tools.schemas import ToolQuery
from app.http.runtime import Runtime
from app.lib.ids import GROUP, IDENTITY, SERVER, parse_id

_PRINCIPALS, _SERVERS, _TOOLS = 6, 10, 40


@dataclass(frozen=True, slots=True)
class Choice:
    """Something to choose: its value in the form, its name, and what else helps to know it."""

    value: str
    name: str
    more: str = ""
    risk: str | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """All that the form offers. What is ``chosen`` stands before what was found, whatever was searched for."""

    chosen_who: Choice | None
    who: list[Choice]
    chosen_servers: list[Choice]
    servers: list[Choice]
    chosen_tools: list[Choice]
    tools: list[Choice]
    searched: dict[str, str]
    dates: list[tuple[str, str, datetime]]
    risks: list[tuple[str, str]] = field(
        default_factory=lambda: [
            (Risk.READ.value, "Tools that only read"),
            (Risk.WRITE.value, "Tools that change something"),
            (Risk.DESTRUCTIVE.value, "Tools that destroy something"),
            (Risk.UNKNOWN.value, "Tools of which nobody knows the risk"),
        ]
    )


async def choices_for(
    wish: Wish, form: Form, viewer: Viewer, session: AsyncSession, runtime: Runtime
) -> Choices:
    """What there is to choose from for somebody who has typed and chosen this. Raises ``Invalid``."""
    searched = {name: form.text(name)[:LONGEST] for name in ("who_q", "server_q", "tool_q")}
    now = runtime.clock()
    names = await _names(wish, session)
    return Choices(
        chosen_who=Choice(wish.who, names[wish.who]) if wish.who in names else None,
        who=[one for one in await _who(searched["who_q"], viewer, session, runtime) if one.value != wish.who],
        chosen_servers=[Choice(id, names[id]) for id in wish.server if id in names],
        servers=[
            Choice(show_id("server", one.id) or "", one.slug, one.name)
            for one in await find_servers(searched["server_q"], viewer, session, runtime, most=_SERVERS)
            if show_id("server", one.id) not in wish.server
        ],
        chosen_tools=[Choice(name, name) for name in wish.tool],
        tools=await _tools(wish, searched["tool_q"], viewer, session, runtime),
        searched=searched,
        dates=[(str(days), _span(days), now + timedelta(days=days)) for days in PRESETS],
    )


async def _names(wish: Wish, session: AsyncSession) -> dict[str, str]:
    """The names of what is chosen, by id; of what there is not, none."""
    ids: dict[str, UUID] = {}
    for text, prefixes in ((wish.who, (IDENTITY, GROUP)), *((id, (SERVER,)) for id in wish.server)):
        for prefix in prefixes:
            try:
                ids[text] = parse_id(prefix, text)
            except ValueError:
                continue
    names = await names_of(session, ids.values())
    return {text: names[id] for text, id in ids.items() if id in names}


async def _who(text: str, viewer: Viewer, session: AsyncSession, runtime: Runtime) -> list[Choice]:
    people, groups = await find_principals(text, viewer, session, runtime, most=_PRINCIPALS)
    found = [
        Choice(show_id("identity", one.id) or "", one.display_name or one.user_name, f"{one.kind}, {one.user_name}")
        for one in people
    ]  # fmt: skip
    return found + [Choice(show_id("group", one.id) or "", one.name, "group") for one in groups]


async def _tools(
    wish: Wish, text: str, viewer: Viewer, session: AsyncSession, runtime: Runtime
) -> list[Choice]:
    """Tools of the chosen servers, each name once: a grant names them for all of its servers."""
    wanted: dict[str, Any] = {"q": text or None, "state": ["active"], "sort": "name", "limit": 2 * _TOOLS}
    if wish.servers == "ids":
        if not wish.server:
            return []
        wanted["server_id"] = wish.server
    found = await tools.list_tools(validated(ToolQuery, wanted), viewer.caller, session, runtime)
    slugs = await names_of(session, [one.server_id for one in found.items])
    by_name: dict[str, Choice] = {}
    for one in found.items:
        if one.name in wish.tool:
            continue
        slug = slugs.get(one.server_id, "")
        known = by_name.get(one.name)
        more = slug if known is None else f"{known.more}, {slug}"
        by_name[one.name] = Choice(one.name, one.name, more, one.risk.value)
    return list(by_name.values())[:_TOOLS]


def _span(days: int) -> str:
    return "1 year" if days == 365 else f"{days} days"
