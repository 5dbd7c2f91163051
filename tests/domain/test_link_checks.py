"""The faults of grants and scope entries agree exactly with ``decide``."""

from dataclasses import replace
from math import inf
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.access import AccessRequest, PolicyContext, decide
from app.domain.link_checks import check_links, identities_without_grant
from app.domain.objects import Grant, Identity, IdentityStatus, Part, Server, Token, ToolState
from app.domain.policy import GrantedIsAllowed
from app.domain.scopes import (
    AllServers,
    AllTools,
    GrantsScope,
    ListedScope,
    Scope,
    ServersByIds,
    ToolsByNames,
)
from tests.domain.worlds import World, open_worlds, worlds

ID = UUID(int=9)
EVERYTHING = Grant(ID, 1, AllServers(), AllTools(), True, True)
AROUND = PolicyContext(1, 1, GrantedIsAllowed())
any_world = st.one_of(worlds(), open_worlds())
parts = st.sampled_from((None, None, *Part))


def asked(world: World, part: Part | None) -> tuple[AccessRequest, Server] | None:
    """The question of a world, for a part if it names no tool, and its server, enabled."""
    question = world.question
    if question.server is None:
        return None
    tool = None if question.tool is None else question.server.tools.get(question.tool)
    if question.tool is not None and (tool is None or tool.state is ToolState.REMOVED):
        return None
    server = replace(question.server, enabled=True)
    return replace(question, server=server, part=part if question.tool is None else None), server


def refused(question: AccessRequest, at: float, scope: Scope, *grants: Grant) -> str:
    """The decision for a valid token with this scope and an identity with these grants."""
    token = Token(ID, 1, Identity(ID, 1, IdentityStatus.ACTIVE, grants=grants), scope, inf)
    return decide(replace(question, token=token), AROUND, at).reason_code


@settings(max_examples=3 * settings().max_examples)
@given(any_world, parts)
def test_nothing_is_against_just_what_decide_takes(world: World, part: Part | None) -> None:
    found = asked(world, part)
    if found is None:
        assert all(link.grants == () for link in check_links(world.question, world.at))
        return
    question, _ = found
    for link in check_links(question, world.at):
        for grant, faults in link.grants:
            denied = refused(question, world.at, GrantsScope(), grant) == "no_grant"
            assert denied is bool(faults)
        scope = link.token.scope
        if isinstance(scope, ListedScope):
            assert link.entries is not None
            for entry, faults in zip(scope.entries, link.entries, strict=True):
                outside = refused(question, world.at, ListedScope((entry,)), EVERYTHING) == "outside_scope"
                assert outside is bool(faults)
        assert link.in_scope is (refused(question, world.at, scope, EVERYTHING) != "outside_scope")


@settings(max_examples=3 * settings().max_examples)
@given(any_world, parts)
def test_the_grants_that_are_said_to_be_missing_are_all_that_is_missing(
    world: World, part: Part | None
) -> None:
    found = asked(world, part)
    if found is None:
        assert identities_without_grant(world.question, check_links(world.question, world.at)) == ()
        return
    question, server = found
    missing = identities_without_grant(question, check_links(question, world.at))
    more = Grant(
        ID, 1, ServersByIds(frozenset({server.id})),
        ToolsByNames(frozenset({question.tool} if question.tool else ())),
        question.part is Part.RESOURCES, question.part is Part.PROMPTS,
    )  # fmt: skip

    def mended(token: Token) -> Token:
        identity = token.identity
        if identity.id in missing:
            identity = replace(identity, grants=(*identity.grants, more))
        parent = None if token.parent is None else mended(token.parent)
        return replace(token, identity=identity, parent=parent)

    before = decide(question, AROUND, world.at).reason_code
    after = decide(replace(question, token=mended(question.token)), AROUND, world.at).reason_code
    assert after != "no_grant"
    assert missing or before != "no_grant"
