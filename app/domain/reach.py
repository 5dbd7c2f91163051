"""What an identity's live grants reach, whichever tokens it has: asked of ``decide`` as any call asks.

The token that asks exists for the question alone: its scope is all of the grants, and it never expires. So this says
what the widest token of the identity could use, and nothing here decides anything.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from math import inf
from uuid import UUID

from app.domain.access import AccessRequest, Decision, PolicyContext, decide, liveness
from app.domain.objects import Grant, Identity, IdentityStatus, Part, Server, Token, Tool
from app.domain.policy import Effect, GrantedIsAllowed
from app.domain.risk import Risk
from app.domain.scopes import AllServers, AllTools, GrantsScope

_NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Reach:
    """A server within reach, with the tools and parts that are; each with the decision that says by which grant."""

    server: Server
    decision: Decision
    tools: tuple[tuple[Tool, Decision], ...]
    parts: Mapping[Part, Decision]


def stopped(identity: Identity, at: float) -> str | None:
    """Why nothing at all is within reach: the status of the identity, or of whoever answers for it."""
    return liveness(widest_token(identity), at, None)


def reach(
    identity: Identity, server: Server, context: PolicyContext, at: float
) -> Generator[None, None, Reach | None]:
    """What the identity reaches of a server, its tools by name. ``None`` when that is nothing.

    In steps, of a decision each: a server may have thousands of tools.
    """
    if not _is_named(identity, server):
        return None
    token = widest_token(identity)
    decision = decide(AccessRequest(token, server), context, at)
    if decision.effect is Effect.DENY:
        return None
    found = []
    for name in sorted(server.tools):
        yield
        called = decide(AccessRequest(token, server, name), context, at)
        if called.effect is not Effect.DENY:
            found.append((server.tools[name], called))
    parts = {part: decide(AccessRequest(token, server, part=part), context, at) for part in Part}
    within = {part: used for part, used in parts.items() if used.effect is not Effect.DENY}
    return Reach(server, decision, tuple(found), within)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tools of a server are within reach: all, and of those the ones that somebody has to approve and the
    destructive ones. ``is_whole``: none was left out. ``reached``: the server is, be it without an active tool."""

    reached: bool = False
    tools: int = 0
    approval_required: int = 0
    destructive: int = 0
    is_whole: bool = True


def tally(
    identity: Identity, server: Server, context: PolicyContext, at: float, *, most: int
) -> Generator[None, None, Tally]:
    """Count what ``reach`` lists, of the first ``most`` tools by name. In steps, as there."""
    token = widest_token(identity)
    if (
        not _is_named(identity, server)
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


def call_of(identity: Identity, server: Server, tool: str, context: PolicyContext, at: float) -> Decision:
    """What a call of a tool by the identity is met with, before it is known what it says."""
    return decide(AccessRequest(widest_token(identity), server, tool), context, at)


def shut(server: Server | None, tool: str, at: float) -> str | None:
    """Why nobody at all can call a tool, whatever grants and policies say; ``None`` when somebody could."""
    everything = Grant(_NOBODY, 0, AllServers(), AllTools(), True, True)
    anybody = Identity(_NOBODY, 0, IdentityStatus.ACTIVE, grants=(everything,))
    request = AccessRequest(widest_token(anybody), server, tool)
    decision = decide(request, PolicyContext(0, 0, GrantedIsAllowed()), at)
    return None if decision.allowed else decision.reason_code


def _is_named(identity: Identity, server: Server) -> bool:
    # Without a grant the answer is known, and of a large fleet nearly all is like that.
    return any(grant.servers.matches(server.id, server.labels) for grant in identity.grants)


def with_everything(identity: Identity) -> Identity:
    """The identity as if it had been granted everything too. Last, so that its own grants decide what they give."""
    everything = Grant(_NOBODY, 0, AllServers(), AllTools(), True, True)
    return replace(identity, grants=(*identity.grants, everything))


def widest_token(identity: Identity) -> Token:
    """The token that can do whatever the identity's grants allow."""
    # Its id is the identity's own, since there is no token that could be named.
    return Token(identity.id, identity.version, identity, GrantsScope(), inf)
