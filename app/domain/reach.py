"""What an identity's live grants reach, whichever tokens it has: asked of ``decide`` as any call asks.

The token that asks exists for the question alone: its scope is all of the grants, and it never expires. So this says
what the widest token of the identity could use, and nothing here decides anything.
"""

from dataclasses import dataclass
from math import inf

from app.domain.access import Decision, Question, Surroundings, decide, liveness
from app.domain.objects import Identity, Server, Token, Tool
from app.domain.policy import Effect
from app.domain.scopes import GrantsScope


@dataclass(frozen=True, slots=True)
class Reach:
    """A server within reach, with the tools that are; each with the decision that says by which grant."""

    server: Server
    decision: Decision
    tools: tuple[tuple[Tool, Decision], ...]


def stopped(identity: Identity, at: float) -> str | None:
    """Why nothing at all is within reach: the status of the identity, or of whoever answers for it."""
    return liveness(_widest_token(identity), at, None)


def reach(identity: Identity, server: Server, around: Surroundings, at: float) -> Reach | None:
    """What the identity reaches of a server, its tools by name. ``None`` when that is nothing."""
    token = _widest_token(identity)
    decision = decide(Question(token, server), around, at)
    if decision.effect is Effect.DENY:
        return None
    found = []
    for name in sorted(server.tools):
        called = decide(Question(token, server, name), around, at)
        if called.effect is not Effect.DENY:
            found.append((server.tools[name], called))
    return Reach(server, decision, tuple(found))


def _widest_token(identity: Identity) -> Token:
    # Its id is the identity's own, since there is no token that could be named.
    return Token(identity.id, identity.version, identity, GrantsScope(), inf)
