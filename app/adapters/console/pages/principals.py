"""People, agents, groups and servers by what people type of their names."""

from contextlib import suppress
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.console.forms import validated
from app.adapters.console.signed_in import Viewer
from app.domain.errors import Invalid
from app.features.groups import routes as groups
from app.features.groups.schemas import GroupQuery, GroupView
from app.features.identities import routes as identities
from app.features.identities.schemas import IdentityQuery, IdentityView
from app.features.servers import routes as servers
from app.features.servers.schemas import ServerQuery, ServerView
from app.http.runtime import Runtime

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
    return people.items, (await groups.list_groups(named, viewer.caller, session, runtime)).items


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
