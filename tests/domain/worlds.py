"""Small made-up fleets, identities, grants and tokens, drawn so that rights often meet and times often matter.

Times are small integers, so that windows, questions and their edges coincide; there are three servers and four
tools, so that selectors overlap.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from itertools import pairwise
from math import inf
from typing import TypeVar
from uuid import UUID

from hypothesis import strategies as st

from app.domain.access import AccessRequest, PolicyContext
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token, Tool, ToolState
from app.domain.policy import Effect, PolicyEvaluator, PolicyInput, PolicyVerdict
from app.domain.risk import Risk
from app.domain.scopes import (
    AllServers,
    AllTools,
    GrantsScope,
    ListedScope,
    Scope,
    ScopeEntry,
    ServersByIds,
    ServersByLabels,
    ServerSelector,
    ToolsByNames,
    ToolsByRisk,
    ToolSelector,
)

Result = TypeVar("Result")
LATEST = 12
SERVER_IDS = tuple(UUID(int=number) for number in (1, 2, 3))
TOOL_NAMES = ("get_it", "put_it", "drop_it", "it")
LABELS = (("env", "prod"), ("env", "test"), ("team", "a"))
ADDRESSES = (ip_address("192.0.2.1"), ip_address("198.51.100.1"))
NETWORKS = (ip_network("192.0.2.0/24"), ip_network("198.51.100.0/24"))

times = st.integers(0, LATEST).map(float)
ids = st.uuids(version=4)
versions = st.integers(1, 9)


def _subsets(of: tuple[object, ...]) -> st.SearchStrategy[frozenset[object]]:
    return st.frozensets(st.sampled_from(of), max_size=len(of))


server_selectors: st.SearchStrategy[ServerSelector] = st.one_of(
    st.just(AllServers()),
    _subsets(SERVER_IDS).map(ServersByIds),  # type: ignore[arg-type]
    _subsets(LABELS).map(ServersByLabels),  # type: ignore[arg-type]
)
tool_selectors: st.SearchStrategy[ToolSelector] = st.one_of(
    st.just(AllTools()),
    _subsets(TOOL_NAMES).map(ToolsByNames),  # type: ignore[arg-type]
    _subsets(tuple(Risk)).map(ToolsByRisk),  # type: ignore[arg-type]
)
entries = st.builds(ScopeEntry, server_selectors, tool_selectors, st.booleans(), st.booleans())
scopes: st.SearchStrategy[Scope] = st.one_of(
    st.just(GrantsScope()), st.lists(entries, max_size=3).map(lambda found: ListedScope(tuple(found)))
)


@st.composite
def grants(draw: st.DrawFn) -> Grant:
    return Grant(
        draw(ids),
        draw(versions),
        draw(server_selectors),
        draw(tool_selectors),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.one_of(st.just(-inf), times)),
        draw(st.one_of(st.just(inf), times)),
    )


@st.composite
def identities(draw: st.DrawFn, *, owned: bool = True) -> Identity:
    return Identity(
        draw(ids),
        draw(versions),
        draw(st.sampled_from((IdentityStatus.ACTIVE, IdentityStatus.ACTIVE, *IdentityStatus))),
        draw(st.one_of(st.none(), identities(owned=False))) if owned else None,
        tuple(draw(st.lists(st.tuples(ids, versions), max_size=2))),
        tuple(draw(st.lists(grants(), max_size=3))),
    )


@st.composite
def tokens(draw: st.DrawFn, *, depth: int = 2) -> Token:
    parent = draw(st.one_of(st.none(), tokens(depth=depth - 1))) if depth else None
    return Token(
        draw(ids),
        draw(versions),
        draw(identities()) if parent is None or draw(st.booleans()) else parent.identity,
        draw(scopes),
        draw(st.one_of(st.just(inf), times)),
        draw(st.sampled_from((False, False, False, True))),
        tuple(draw(st.lists(st.sampled_from(NETWORKS), max_size=1))),
        parent,
    )


@st.composite
def servers(draw: st.DrawFn) -> Server:
    tools = {
        name: Tool(draw(ids), name, draw(st.sampled_from(Risk)), draw(st.sampled_from(ToolState)), b"digest")
        for name in draw(st.lists(st.sampled_from(TOOL_NAMES), unique=True))
    }
    labels = dict(draw(st.lists(st.sampled_from(LABELS), max_size=2)))
    id = draw(st.sampled_from(SERVER_IDS))
    return Server(id, draw(versions), f"server-{id.int}", draw(st.booleans()), labels, tools)


@dataclass(frozen=True, slots=True)
class TimedRule:
    """A policy set with one rule: ``effect`` for one identity in a time window, otherwise allow."""

    effect: Effect
    identity_id: UUID | None
    starts: float
    ends: float

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        if self.identity_id is not None and request.token.identity.id != self.identity_id:
            return PolicyVerdict(Effect.ALLOW, "granted", reads_call=False, reads_groups=False)
        bounds = (-inf, self.starts, self.ends, inf)
        spans = [(low, high) for low, high in pairwise(bounds) if low <= request.at < high]
        inside = self.starts <= request.at < self.ends
        effect = self.effect if inside else Effect.ALLOW
        return PolicyVerdict(
            effect, "rule" if inside else "granted", (), *spans[0], reads_call=False, reads_groups=False
        )


@st.composite
def surroundings(draw: st.DrawFn, token: Token) -> PolicyContext:
    starts, ends = sorted((draw(times), draw(times)))
    holders = [None, *(link.identity.id for link in token.chain())]
    rule: PolicyEvaluator = TimedRule(
        draw(st.sampled_from(Effect)), draw(st.sampled_from(holders)), starts, ends
    )
    return PolicyContext(draw(versions), draw(versions), rule)


@dataclass(frozen=True, slots=True)
class World:
    """A question with its whole environment."""

    question: AccessRequest
    context: PolicyContext
    at: float


@st.composite
def worlds(draw: st.DrawFn) -> World:
    token = draw(tokens())
    server = draw(st.one_of(servers(), servers(), st.none()))
    tool = draw(st.one_of(st.none(), st.sampled_from((*TOOL_NAMES, "unheard_of"))))
    address = draw(st.one_of(st.none(), st.sampled_from(ADDRESSES)))
    question = AccessRequest(token, server, tool, None, address)
    return World(question, draw(surroundings(token)), draw(times))


@st.composite
def open_worlds(draw: st.DrawFn, *, bare: bool = False) -> World:
    """A world in which nothing but scope, grants and policy stands in the way: allows are common here.

    A bare one leaves policy alone.
    """
    world = draw(worlds())
    server = draw(servers())
    tool = draw(st.sampled_from(TOOL_NAMES))
    active = Tool(draw(ids), tool, draw(st.sampled_from(Risk)), ToolState.ACTIVE, b"digest")
    server = replace(server, enabled=True, tools={**server.tools, tool: active})

    def opened(token: Token) -> Token:
        owner = token.identity.owner
        wide = Grant(
            draw(ids),
            draw(versions),
            AllServers() if bare or draw(st.booleans()) else ServersByIds(frozenset({server.id})),
            AllTools(),
            True,
            True,
            -inf if bare else draw(st.one_of(st.just(-inf), times)),
            inf if bare else draw(st.one_of(st.just(inf), times)),
        )
        identity = replace(
            token.identity,
            status=IdentityStatus.ACTIVE,
            owner=None if owner is None else replace(owner, status=IdentityStatus.ACTIVE),
            grants=(wide,) if bare else (*token.identity.grants, wide),
        )
        return replace(
            token,
            identity=identity,
            scope=GrantsScope() if bare else draw(st.one_of(st.just(GrantsScope()), scopes)),
            expires_at=inf if bare else token.expires_at,
            revoked=False,
            ip_allow=(),
            parent=None if token.parent is None else opened(token.parent),
        )

    question = AccessRequest(opened(world.question.token), server, draw(st.sampled_from((tool, None))))
    return World(question, world.context, world.at)


def at_once(steps: Generator[None, None, Result]) -> Result:
    """The result of a generator that yields between steps."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Result = end.value
            return result
