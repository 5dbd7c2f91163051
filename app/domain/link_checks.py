"""Explains for each token of a chain, scope entry and grant why it does or does not give the requested access.

This decides nothing. A property test checks that ``decide`` accepts exactly the grants and scope entries without
faults.
"""

from dataclasses import dataclass, replace
from uuid import UUID

from app.domain.access import AccessRequest, liveness
from app.domain.objects import Grant, Part, Server, Token, Tool, ToolState
from app.domain.scopes import GrantsScope, ScopeEntry

Faults = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LinkCheck:
    """A token of the chain, with its scope entries and its identity's grants, each with its faults.

    ``stopped`` says why the token is not valid. ``entries`` is ``None`` if the scope is all grants.
    """

    token: Token
    stopped: str | None
    entries: tuple[Faults, ...] | None
    grants: tuple[tuple[Grant, Faults], ...]

    @property
    def in_scope(self) -> bool:
        return self.entries is None or () in self.entries

    @property
    def granted(self) -> bool:
        return any(not faults for _, faults in self.grants)


def check_links(request: AccessRequest, at: float) -> tuple[LinkCheck, ...]:
    """Check the token and its ancestors. Nothing reaches a server or tool that does not exist."""
    server, tool = _found(request)
    return tuple(
        LinkCheck(
            link,
            liveness(replace(link, parent=None), at, request.address),
            None
            if server is None or isinstance(link.scope, GrantsScope)
            else tuple(_uncovered(entry, server, tool, request.part) for entry in link.scope.entries),
            ()
            if server is None
            else tuple(
                (grant, _window(grant, at) + _uncovered(grant, server, tool, request.part))
                for grant in link.identity.grants
            ),
        )
        for link in request.token.chain()
    )


def identities_without_grant(request: AccessRequest, links: tuple[LinkCheck, ...]) -> tuple[UUID, ...]:
    """The identities of the chain that lack a grant; none if the requested server or tool does not exist."""
    if _found(request)[0] is None:
        return ()
    return tuple(dict.fromkeys(link.token.identity.id for link in links if not link.granted))


def _found(request: AccessRequest) -> tuple[Server | None, Tool | None]:
    """The server and the tool; nothing if the requested tool is missing."""
    if request.server is None or request.tool is None:
        return request.server, None
    tool = request.server.tools.get(request.tool)
    return (None, None) if tool is None or tool.state is ToolState.REMOVED else (request.server, tool)


def _window(grant: Grant, at: float) -> Faults:
    if at < grant.not_before:
        return ("not_started",)
    return ("expired",) if at >= grant.expires_at else ()


def _uncovered(right: Grant | ScopeEntry, server: Server, tool: Tool | None, part: Part | None) -> Faults:
    """The parts of the request that a right does not cover."""
    faults = []
    if not right.servers.matches(server.id, server.labels):
        faults.append("server_not_covered")
    if tool is not None and not right.tools.matches(tool.name, tool.risk):
        faults.append("tool_not_covered")
    if part is not None and not (right.resources if part is Part.RESOURCES else right.prompts):
        faults.append(f"{part}_not_covered")
    return tuple(faults)
