"""What a right would reach of the fleet as it is now, whoever holds it, before anybody is given it."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from uuid import UUID

from app.domain.objects import Server, Tool
from app.domain.scopes import ScopeEntry
from app.domain.stale import reach_of


@dataclass(frozen=True, slots=True)
class ReachedServer:
    """A server that a right selects, with the tools that it gives, by name."""

    server: Server
    tools: tuple[Tool, ...]


def reached(right: ScopeEntry, servers: Mapping[UUID, Server]) -> Generator[None, None, list[ReachedServer]]:
    """The servers by slug; one of which no tool is given is among them. In steps of a server each."""
    reach = yield from reach_of(right, servers.values())
    found = [
        ReachedServer(servers[id], tuple(servers[id].tools[name] for name in sorted(names)))
        for id, names in reach.items()
    ]
    return sorted(found, key=lambda one: one.server.slug)
