"""What an identity's live grants reach, independent of its tokens.

``decide`` decides it for a hypothetical token whose scope is all grants and which never expires, the widest token that
the identity could have.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from math import inf
from uuid import UUID

from app.domain.access import AccessRequest, Decision, PolicyContext, decide, liveness
from app.domain.objects import EVERYTHING, Identity, IdentityStatus, Part, Server, Token, Tool
from app.domain.policy import Effect, GrantedIsAllowed
from app.domain.risk import Risk
from app.domain.scopes import GrantsScope


@dataclass(frozen=True, slots=True)
class Reach:
    """A server within reach, with its tools and parts within reach. Each decision names the grant."""

    server: Server
    decision: Decision
    tools: tuple[tuple[Tool, Decision], ...]
    parts: Mapping[Part, Decision]


def stop_reason(identity: Identity, at: float) -> str | None:
    """Why nothing is within reach: the status of the identity or its owner; ``None`` if both are active."""
    return liveness(widest_token(identity), at, None)


def reach(
    identity: Identity, server: Server, context: PolicyContext, at: float
) -> Generator[None, None, Reach | None]:
    """What the identity reaches of a server, with tools in order of their names; ``None`` if nothing.

    Yields after each decision, as a server can have thousands of tools.
    """
    if not _has_grant_for(identity, server):
        return None
    token = widest_token(identity)
    decision = decide(AccessRequest(token, server), context, at)
    if decision.effect is Effect.DENY:
        return None
    tools = []
    for name in sorted(server.tools):
        yield
        called = decide(AccessRequest(token, server, name), context, at)
        if called.effect is not Effect.DENY:
            tools.append((server.tools[name], called))
    parts = {part: decide(AccessRequest(token, server, part=part), context, at) for part in Part}
    within = {part: used for part, used in parts.items() if used.effect is not Effect.DENY}
    return Reach(server, decision, tuple(tools), within)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of the tools of a server within reach: all, those that require approval, and the destructive ones.

    ``is_whole``: no tool was left out. ``reached``: the server is within reach, even without an active tool.
    """

    reached: bool = False
    tools: int = 0
    approval_required: int = 0
    destructive: int = 0
    is_whole: bool = True


def tally(
    identity: Identity, server: Server, context: PolicyContext, at: float, *, most: int
) -> Generator[None, None, Tally]:
    """Count what ``reach`` lists, for the first ``most`` tools by name. Yields after each decision."""
    token = widest_token(identity)
    if (
        not _has_grant_for(identity, server)
        or decide(AccessRequest(token, server), context, at).effect is Effect.DENY
    ):
        return Tally()
    tools = approval_required = destructive = 0
    for name in sorted(server.tools)[:most]:
        yield
        effect = decide(AccessRequest(token, server, name), context, at).effect
        if effect is Effect.DENY:
            continue
        tools += 1
        approval_required += effect is Effect.REQUIRE_APPROVAL
        destructive += server.tools[name].risk is Risk.DESTRUCTIVE
    return Tally(True, tools, approval_required, destructive, len(server.tools) <= most)


def blocking_reason(server: Server | None, tool: str, at: float) -> str | None:
    """Why no identity can call a tool, independent of grants and policies; ``None`` if it can be called."""
    any_identity = Identity(UUID(int=0), 0, IdentityStatus.ACTIVE, grants=(EVERYTHING,))
    request = AccessRequest(widest_token(any_identity), server, tool)
    decision = decide(request, PolicyContext(0, 0, GrantedIsAllowed()), at)
    return None if decision.allowed else decision.reason_code


def _has_grant_for(identity: Identity, server: Server) -> bool:
    # Without a grant the result is a deny, as for most servers of a large fleet.
    return any(grant.servers.matches(server.id, server.labels) for grant in identity.grants)


def with_all_grants(identity: Identity) -> Identity:
    """The identity with an additional grant of everything, placed last so that its own grants are named first."""
    return replace(identity, grants=(*identity.grants, EVERYTHING))


def widest_token(identity: Identity) -> Token:
    """A hypothetical token with all rights of the identity's grants."""
    # It has the identity's id, as no real token exists.
    return Token(identity.id, identity.version, identity, GrantsScope(), inf)
