"""What a token may see: visible tools and parts, and an index of servers by selector.

Each result comes with one decision that depends on everything that could change it. The functions yield after each
decision, because a server can have thousands of tools. In a large fleet, the index finds the few servers that may be
within reach.
"""

from collections.abc import Collection, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from app.domain.access import AccessRequest, Decision, PolicyContext, all_dependencies, decide
from app.domain.objects import Address, Part, Server, Token, ToolState
from app.domain.policy import Effect
from app.domain.scopes import AllServers, ListedScope, ServersByIds, ServersByLabels, ServerSelector

Seen = Generator[None, None, tuple[Decision, frozenset[str]]]

EVERY_TOOL = "every tool"
"""A member of the parts of a server if the token may use all of its tools."""


def visible_tools(request: AccessRequest, context: PolicyContext, at: float) -> Seen:
    """The names of the visible tools of a server, with the decision for the list.

    A tool is visible if a call without arguments would not be denied. The decision is a deny if the server itself is
    out of reach.
    """
    reach = decide(request, context, at)
    server = request.server
    if reach.effect is Effect.DENY or server is None:
        return reach, frozenset()
    decisions = {}
    for name in server.tools:
        yield
        decisions[name] = decide(replace(request, tool=name, arguments=None, part=None), context, at)
    return _filtered(request, context, at, reach, decisions.values()), _not_denied(decisions)


def visible_parts(request: AccessRequest, context: PolicyContext, at: float) -> Seen:
    """The parts of a server that a token reaches, with the decision for them.

    Includes ``EVERY_TOOL`` if none of the approved tools is hidden. The decision is a deny if the server itself is out
    of reach.
    """
    reach = decide(request, context, at)
    server = request.server
    if reach.effect is Effect.DENY or server is None:
        return reach, frozenset()
    decisions = {
        part.value: decide(replace(request, arguments=None, part=part), context, at) for part in Part
    }
    tools = []
    for name, tool in server.tools.items():
        if tool.state is ToolState.ACTIVE:
            yield
            tools.append(decide(replace(request, tool=name, arguments=None, part=None), context, at))
    names = _not_denied(decisions)
    if all(each.effect is not Effect.DENY for each in tools):
        names |= {EVERY_TOOL}
    return _filtered(request, context, at, reach, (*decisions.values(), *tools)), names


def reached_parts(
    token: Token, servers: Iterable[Server], context: PolicyContext, at: float, address: Address | None
) -> Generator[None, None, frozenset[Part]]:
    """The parts that a token reaches on any of these servers. Yields after each server, as there can be thousands."""
    missing = set(Part)
    for server in servers:
        yield
        for part in tuple(missing):
            request = AccessRequest(token, server, address=address, part=part)
            if decide(request, context, at).effect is not Effect.DENY:
                missing.discard(part)
        if not missing:
            break
    return frozenset(set(Part) - missing)


def _not_denied(decisions: Mapping[str, Decision]) -> frozenset[str]:
    return frozenset(name for name, each in decisions.items() if each.effect is not Effect.DENY)


def _filtered(
    request: AccessRequest, context: PolicyContext, at: float, reach: Decision, decisions: Iterable[Decision]
) -> Decision:
    servers = () if request.server is None else (request.server,)
    versions, valid_from, valid_until = all_dependencies(request.token, servers, context, at)
    met = (reach, *decisions)
    return Decision(
        Effect.ALLOW,
        "filtered",
        versions,
        # The spans of the decisions include the time rules of their policies.
        max(valid_from, *(each.valid_from for each in met)),
        min(valid_until, *(each.valid_until for each in met)),
        grant_id=reach.grant_id,
    )


Label = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Directory:
    """All servers by id, and the ids of those with each label."""

    servers: Mapping[UUID, Server]
    labelled: Mapping[Label, frozenset[UUID]]

    def named_by(self, selectors: Iterable[ServerSelector]) -> Collection[Server]:
        """The distinct servers that any of these selectors matches."""
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
        by_label = sorted((self.labelled.get(label, frozenset()) for label in selector.labels), key=len)
        return by_label[0].intersection(*by_label[1:]) if by_label else ()


def make_directory(servers: Mapping[UUID, Server], alike: Directory | None = None) -> Directory:
    """Create the directory of these servers. ``alike``, one of the same servers with the same labels, saves some
    hundredths of a second for tens of thousands of servers."""
    if alike is not None:
        return replace(alike, servers=servers)
    labelled: dict[Label, list[UUID]] = {}
    for server in servers.values():
        for label in server.labels.items():
            labelled.setdefault(label, []).append(server.id)
    return Directory(servers, {label: frozenset(ids) for label, ids in labelled.items()})


def within(token: Token, directory: Directory) -> Collection[Server]:
    """A superset of the servers that a token reaches: those of its scope, or else of its holder's grants.

    ``decide`` denies all other servers, because no grant or scope covers them.
    """
    if isinstance(token.scope, ListedScope):
        scoped = [entry.servers for entry in token.scope.entries]
        if not any(isinstance(selector, AllServers) for selector in scoped):
            return directory.named_by(scoped)
    return directory.named_by(grant.servers for grant in token.identity.grants)
