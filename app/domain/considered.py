"""What ``decide`` looks at on its way to an answer, and what keeps each of it from giving the right that is asked for.

It decides nothing: a law in the tests says that a grant, or an entry of a scope, with nothing against it is one that
``decide`` takes, and that every other is one that it does not.
"""

from dataclasses import dataclass, replace
from uuid import UUID

from app.domain.access import AccessRequest, liveness
from app.domain.objects import Grant, Identity, Part, Server, Token, Tool, ToolState
from app.domain.scopes import GrantsScope, ServerSelector, ToolSelector

Faults = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConsideredLink:
    """A token, or one that it was attenuated from, with its scope and the grants of its identity.

    ``stopped``: why it opens nothing at all. ``entries`` are those of a listed scope, each with what keeps it from
    reaching; ``None`` where the scope is all of the grants.
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


def considered(request: AccessRequest, at: float) -> tuple[ConsideredLink, ...]:
    """The token that asks and those that it was attenuated from. Of a server or tool that is not there, nothing is
    in reach of a scope or a grant."""
    server, tool, nowhere = _found(request)
    return tuple(
        ConsideredLink(
            link,
            liveness(replace(link, parent=None), at, request.address),
            None if server is None or nowhere else _entries(link, server, tool, request.part),
            () if server is None or nowhere else _grants(link.identity, server, tool, request.part, at),
        )
        for link in request.token.chain()
    )


def lacking(request: AccessRequest, links: tuple[ConsideredLink, ...]) -> tuple[UUID, ...]:
    """The identities that lack a grant, of those whose rights count; none where what is asked for is not there."""
    server, _, nowhere = _found(request)
    if server is None or nowhere:
        return ()
    return tuple(dict.fromkeys(link.token.identity.id for link in links if not link.granted))


def _found(request: AccessRequest) -> tuple[Server | None, Tool | None, bool]:
    """The server and the tool, and whether it is a tool that is asked for and is not there."""
    if request.server is None or request.tool is None:
        return request.server, None, False
    tool = request.server.tools.get(request.tool)
    return request.server, tool, tool is None or tool.state is ToolState.REMOVED


def _entries(token: Token, server: Server, tool: Tool | None, part: Part | None) -> tuple[Faults, ...] | None:
    if isinstance(token.scope, GrantsScope):
        return None
    return tuple(
        _missed(entry.servers, entry.tools, {Part.RESOURCES: entry.resources, Part.PROMPTS: entry.prompts},
                server, tool, part)
        for entry in token.scope.entries
    )  # fmt: skip


def _grants(
    identity: Identity, server: Server, tool: Tool | None, part: Part | None, at: float
) -> tuple[tuple[Grant, Faults], ...]:
    return tuple(
        (
            grant,
            _window(grant, at)
            + _missed(grant.servers, grant.tools, {Part.RESOURCES: grant.resources, Part.PROMPTS: grant.prompts},
                      server, tool, part),
        )
        for grant in identity.grants
    )  # fmt: skip


def _window(grant: Grant, at: float) -> Faults:
    if at < grant.not_before:
        return ("not_started",)
    return ("expired",) if at >= grant.expires_at else ()


def _missed(
    servers: ServerSelector,
    tools: ToolSelector,
    parts: dict[Part, bool],
    server: Server,
    tool: Tool | None,
    part: Part | None,
) -> Faults:
    """What of the thing asked for is not among what is selected."""
    faults = []
    if not servers.matches(server.id, server.labels):
        faults.append("server_not_covered")
    if tool is not None and not tools.matches(tool.name, tool.risk):
        faults.append("tool_not_covered")
    if part is not None and not parts[part]:
        faults.append(f"{part}_not_covered")
    return tuple(faults)
