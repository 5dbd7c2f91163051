"""One page of what an identity reaches, in the order of slugs."""

from collections.abc import Generator, Iterable

from app.domain.access import Surroundings
from app.domain.objects import Identity, Server
from app.domain.reach import Reach, reach
from app.lib.slices import in_slices

# A page ends when it is past so many tools, however many servers it was asked for.
TOOLS_A_PAGE = 2_000


async def page_of(
    identity: Identity,
    servers: Iterable[Server],
    around: Surroundings,
    at: float,
    *,
    after: str | None,
    limit: int,
) -> tuple[list[Reach], str | None]:
    """What is reached of the servers after a slug, and the slug to go on after; ``None`` at the end."""
    wanted = sorted(servers, key=lambda server: server.slug)
    left = [server for server in wanted if after is None or server.slug > after]
    return await in_slices(_page(identity, left, around, at, limit))


def _page(
    identity: Identity, servers: Iterable[Server], around: Surroundings, at: float, limit: int
) -> Generator[None, None, tuple[list[Reach], str | None]]:
    found: list[Reach] = []
    tools = 0
    for server in servers:
        yield
        one = yield from reach(identity, server, around, at)
        if one is None:
            continue
        if len(found) == limit or tools > TOOLS_A_PAGE:
            return found, found[-1].server.slug
        found.append(one)
        tools += len(one.tools)
    return found, None
