"""People, agents, groups and servers by what people type of their names.

What pages about people and agents share: what they are called, and finding one person among all.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Request
from markupsafe import escape
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import read_query, validated
from app.adapters.console.signed_in import Viewer
from app.adapters.console.visible import visible
from app.domain.errors import Invalid
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery, GroupView
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityQuery, IdentityView
from app.features.servers import routes as servers
from app.features.servers.schemas import ServerQuery, ServerView
from app.http.runtime import Runtime
from app.http.schemas import ShortText, Strict
from app.lib.ids import IDENTITY, format_id
from app.models.identities import Identity

MOST_FOUND = 50
LONGEST = 200
"""The characters of a text that is searched for."""


async def find_principals(
    text: str, viewer: Viewer, session: AsyncSession, runtime: Runtime, *, most: int = MOST_FOUND
) -> tuple[list[IdentityView], list[GroupView]]:
    """People and agents who are not offboarded, and groups, with a text in what they are called; by name. Raises
    ``Invalid`` for a text that no name can have."""
    wanted: dict[str, Any] = {"q": text[:LONGEST] or None, "limit": most}
    living = wanted | {"status": ["active", "suspended"], "sort": "user_name"}
    people = await identities.list_identities(validated(IdentityQuery, living), session, runtime)
    named = validated(GroupQuery, wanted | {"sort": "name"})
    found, _ = await groups.list_groups(session, viewer.caller, named, runtime)
    return people.items, [GroupView.from_row(row) for row in found]


async def find_servers(
    text: str, viewer: Viewer, session: AsyncSession, runtime: Runtime, *, most: int
) -> list[ServerView]:
    """Servers with a text in what they are called, by slug. Raises ``Invalid``."""
    asked = validated(ServerQuery, {"q": text[:LONGEST] or None, "sort": "slug", "limit": most})
    return (await servers.list_servers(asked, viewer.caller, session, runtime)).items


async def find_server(
    text: str, viewer: Viewer, session: AsyncSession, runtime: Runtime
) -> ServerView | None:
    """The server with this slug, otherwise the first with the text in what it is called. Raises ``Invalid``."""
    with suppress(Invalid):
        by_slug = validated(ServerQuery, {"slug": [text]})
        for one in (await servers.list_servers(by_slug, viewer.caller, session, runtime)).items:
            return one
    return next(iter(await find_servers(text, viewer, session, runtime, most=1)), None)


IDENTITIES = "/console/identities"
ERASED = "somebody who was erased"
PAGE_SIZE = 25
_FOUND = 8


class _Asked(Strict):
    q: ShortText | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Somebody who was found, and the address of this page with them chosen."""

    name: str
    user_name: str
    href: str


@dataclass(frozen=True, slots=True)
class Search:
    """What was typed, who was found by it, and whether there are more."""

    q: str
    found: list[Choice]
    more: bool


def called(it: IdentityView | Identity) -> str:
    """What people call somebody."""
    return ERASED if it.erased_at is not None else it.display_name or it.user_name


def to_type(it: IdentityView | Identity) -> str:
    """What is typed to say that this one is meant: the user name, or the id where a name has what nobody can type."""
    name = it.user_name.strip()
    return name if visible(name) == escape(name) else format_id(IDENTITY, it.id)


async def search_person(
    request: Request, session: AsyncSession, runtime: Runtime, choose: str, *, but: UUID | None = None
) -> Search:
    """Active people with the text ``q`` of the address in their names, each a link that sets the parameter ``choose``.

    Without a text nobody is found, and never ``but``, whom the page is about. Raises ``Malformed``.
    """
    q = read_query(_Asked, request).q
    if q is None:
        return Search("", [], more=False)
    query = IdentityQuery(q=q, limit=_FOUND, kind=["person"], status=["active"])
    answer = await identities.list_identities(query, session, runtime)
    kept = [(name, value) for name, value in request.query_params.multi_items() if name not in ("q", choose)]
    found = [
        Choice(
            called(one),
            one.user_name,
            f"{request.url.path}?{urlencode([*kept, (choose, format_id(IDENTITY, one.id))])}",
        )
        for one in answer.items
        if one.id != but
    ]
    return Search(q, found, more=answer.next_cursor is not None)
