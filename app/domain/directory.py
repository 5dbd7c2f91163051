"""Servers as selectors name them, so that of a large fleet only those are asked about that could be within reach."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from app.domain.objects import Server, Token
from app.domain.scopes import AllServers, ListedScope, ServersByIds, ServersByLabels, ServerSelector

Label = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Directory:
    """All servers by id, and which of them carry a label."""

    servers: Mapping[UUID, Server]
    labelled: Mapping[Label, frozenset[UUID]]

    def named_by(self, selectors: Iterable[ServerSelector]) -> Collection[Server]:
        """The servers that any of these selectors matches, each once."""
        named: dict[UUID, Server] = {}
        for selector in selectors:
            if isinstance(selector, AllServers):
                return self.servers.values()
            for id in self._ids(selector):
                server = self.servers.get(id)
                if server is not None:
                    named[id] = server
        return named.values()

    def _ids(self, selector: ServersByIds | ServersByLabels) -> Iterable[UUID]:
        if isinstance(selector, ServersByIds):
            return selector.ids
        found = sorted((self.labelled.get(label, frozenset()) for label in selector.labels), key=len)
        return found[0].intersection(*found[1:]) if found else ()


def directory_of(servers: Mapping[UUID, Server], alike: Directory | None = None) -> Directory:
    """The directory of these servers. Of tens of thousands it takes some hundredths of a second, unless there is one of
    the very same with the same labels."""
    if alike is not None:
        return replace(alike, servers=servers)
    labelled: dict[Label, list[UUID]] = {}
    for server in servers.values():
        for label in server.labels.items():
            labelled.setdefault(label, []).append(server.id)
    return Directory(servers, {label: frozenset(ids) for label, ids in labelled.items()})


def within(token: Token, directory: Directory) -> Collection[Server]:
    """Servers among which are all that a token reaches: those that its scope names, or else its holder's grants.

    Which of them it does reach is for ``decide`` to say: of any other server it says no, since there is no grant or the
    server lies outside the scope.
    """
    return directory.named_by(_narrowest(token))


def _narrowest(token: Token) -> Iterator[ServerSelector]:
    scope = token.scope
    if isinstance(scope, ListedScope):
        scoped = [entry.servers for entry in scope.entries]
        if not any(isinstance(selector, AllServers) for selector in scoped):
            return iter(scoped)
    return (grant.servers for grant in token.identity.grants)
