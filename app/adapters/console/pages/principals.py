"""Search for people, agents, groups and servers by name, shared by several pages."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from markupsafe import escape

from app.adapters.console.context import PageContext
from app.adapters.console.display import visible
from app.adapters.console.forms import validate
from app.adapters.console.page import with_query
from app.domain.errors import Invalid
from app.features.groups import service as groups
from app.features.groups.schemas import GroupQuery, GroupView
from app.features.identities import service as identities
from app.features.identities.schemas import IdentityQuery, IdentityView
from app.features.servers import service as servers
from app.features.servers.schemas import ServerQuery, ServerView
from app.http.schemas import ShortText, Strict
from app.lib.ids import IDENTITY, format_id
from app.models.identities import Identity

MAX_FOUND = 50
MAX_SEARCH_LENGTH = 200
"""The maximum length of a search text, in characters."""
IDENTITIES = "/console/identities"
PAGE_SIZE = 25
_FOUND = 8


async def find_principals(
    context: PageContext, text: str, *, limit: int = MAX_FOUND
) -> tuple[list[IdentityView], list[GroupView]]:
    """Find people and agents who are not offboarded, and groups, by a part of their names. Raises ``Invalid``."""
    wanted: dict[str, Any] = {"q": text[:MAX_SEARCH_LENGTH] or None, "limit": limit}
    living = wanted | {"status": ["active", "suspended"], "sort": "user_name"}
    query = validate(IdentityQuery, living)
    people = await identities.list_identities(context.session, query, context.runtime)
    named = validate(GroupQuery, wanted | {"sort": "name"})
    found, _ = await groups.list_groups(context.session, context.caller, named, context.runtime)
    return people.items, [GroupView.from_row(row) for row in found]


async def find_identity_id(context: PageContext, user_name: str, **filters: Any) -> UUID | None:
    """The id of the identity with this user name. Raises ``Invalid``."""
    query = validate(IdentityQuery, {"user_name": [user_name], "limit": 1} | filters)
    found = await identities.list_identities(context.session, query, context.runtime)
    return found.items[0].id if found.items else None


async def require_group(context: PageContext, name: str, pointer: str) -> UUID:
    """The id of the group with this name. Raises ``Invalid`` for the field at ``pointer``."""
    query = validate(GroupQuery, {"name": [name], "limit": 1})
    found, _ = await groups.list_groups(context.session, context.caller, query, context.runtime)
    if not found:
        raise Invalid.field(pointer, "unknown_group", "There is no group of this name.")
    return found[0].id


async def find_servers(context: PageContext, text: str, *, limit: int) -> list[ServerView]:
    """Find servers by a part of their names, sorted by slug. Raises ``Invalid``."""
    asked = validate(ServerQuery, {"q": text[:MAX_SEARCH_LENGTH] or None, "sort": "slug", "limit": limit})
    return (await servers.list_servers(context.session, context.caller, asked, context.runtime)).items


async def find_server(context: PageContext, text: str) -> ServerView | None:
    """Find the server with this slug, otherwise the first whose name contains the text. Raises ``Invalid``."""
    with suppress(Invalid):
        by_slug = validate(ServerQuery, {"slug": [text]})
        found = await servers.list_servers(context.session, context.caller, by_slug, context.runtime)
        if found.items:
            return found.items[0]
    return next(iter(await find_servers(context, text, limit=1)), None)


class _Asked(Strict):
    q: ShortText | None = None


def confirmation_text(it: IdentityView | Identity) -> str:
    """The text to type as a confirmation: the user name, or the id if the name cannot be typed."""
    name = it.user_name.strip()
    return name if visible(name) == escape(name) else format_id(IDENTITY, it.id)


async def search_person(context: PageContext, choose: str, *, but: UUID | None = None) -> dict[str, Any]:
    """Find active people by the parameter ``q``. ``base`` with the id of one is this page with ``choose`` set to it.

    An empty text finds none; ``but`` is left out of the results. Raises ``Malformed``.
    """
    q = context.query(_Asked).q
    if q is None:
        return {"q": "", "found": [], "more": False, "base": ""}
    query = IdentityQuery(q=q, limit=_FOUND, kind=["person"], status=["active"])
    answer = await identities.list_identities(context.session, query, context.runtime)
    given = context.request.query_params.multi_items()
    base = with_query(
        context.request.url.path, [*(one for one in given if one[0] not in ("q", choose)), (choose, "")]
    )
    found = [one for one in answer.items if one.id != but]
    return {"q": q, "found": found, "more": answer.next_cursor is not None, "base": base}
