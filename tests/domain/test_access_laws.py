"""Properties of the access decision, over generated fleets, identities, grants, tokens and policies."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import combinations, product
from math import ceil, inf
from typing import Any
from uuid import UUID

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from app.domain.access import (
    FLEET_ID,
    POLICY_SET_ID,
    AccessRequest,
    Decision,
    PolicyContext,
    decide,
    scope_reaches,
)
from app.domain.objects import Address, Identity, IdentityStatus, Part, Server, Token, Tool, ToolState
from app.domain.policy import Effect, GrantedIsAllowed
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
    scope_within,
)
from app.domain.visibility import visible_tools
from tests.domain.worlds import (
    ADDRESSES,
    LABELS,
    LATEST,
    SERVER_IDS,
    TOOL_NAMES,
    TimedRule,
    World,
    at_once,
    entries,
    open_worlds,
    scopes,
    servers,
    tokens,
    worlds,
)

any_world = st.one_of(worlds(), open_worlds(), open_worlds(bare=True))
STRENGTH = {Effect.ALLOW: 0, Effect.REQUIRE_APPROVAL: 1, Effect.DENY: 2}


def answer(world: World, **changes: object) -> Decision:
    return decide(replace(world.question, **changes), world.context, world.at)  # type: ignore[arg-type]


def with_token(world: World, change: Callable[[Token], Token]) -> Decision:
    return answer(world, token=change(world.question.token))


@given(open_worlds(), st.data(), st.one_of(st.none(), st.sampled_from(ADDRESSES)))
def test_an_allow_for_any_call_allows_each_call_in_its_span(
    world: World, data: st.DataObject, address: Address | None
) -> None:
    decision = decide(world.question, world.context, world.at)
    assume(decision.for_any_call)
    first, end = max(0, decision.valid_from), min(LATEST + 1, decision.valid_until)
    later = data.draw(st.integers(ceil(first), ceil(end) - 1))
    other = replace(world.question, arguments={"path": "/etc"}, address=address)
    assert decide(other, world.context, later).allowed


@given(any_world)
def test_a_child_may_nothing_that_its_parent_may_not(world: World) -> None:
    parent = world.question.token.parent
    assume(parent is not None)
    child, over = answer(world), answer(world, token=parent)
    event(f"child {child.effect}, parent {over.effect}")
    assert STRENGTH[child.effect] >= STRENGTH[over.effect]


@given(any_world, tokens(depth=0))
def test_attenuating_any_token_never_widens(world: World, child: Token) -> None:
    parent = world.question.token
    over, under = answer(world), answer(world, token=replace(child, parent=parent))
    assert STRENGTH[under.effect] >= STRENGTH[over.effect]


@given(open_worlds(bare=True), st.uuids(), st.sampled_from((Effect.DENY, Effect.REQUIRE_APPROVAL)))
def test_what_policy_withholds_from_a_parent_it_withholds_from_the_child(
    world: World, agent_id: UUID, effect: Effect
) -> None:
    parent = world.question.token
    child = replace(parent, identity=replace(parent.identity, id=agent_id), parent=parent)
    rule = TimedRule(effect, parent.identity.id, -inf, inf)
    question = replace(world.question, token=child)
    assert decide(question, replace(world.context, policies=rule), world.at).effect is effect


@given(any_world)
def test_a_listed_scope_never_reaches_more_than_the_grants(world: World) -> None:
    unscoped = with_token(world, lambda token: replace(token, scope=GrantsScope()))
    assert STRENGTH[answer(world).effect] >= STRENGTH[unscoped.effect]


@given(open_worlds())
def test_withdrawing_every_grant_withdraws_every_right(world: World) -> None:
    without = with_token(world, lambda token: replace(token, identity=replace(token.identity, grants=())))
    assert without.effect is Effect.DENY


@given(open_worlds())
def test_withdrawing_the_grant_that_allowed_leaves_only_what_another_grant_gives(world: World) -> None:
    before = answer(world)
    assume(before.effect is not Effect.DENY)
    identity = world.question.token.identity
    left = tuple(grant for grant in identity.grants if grant.id != before.grant_id)
    after = with_token(world, lambda token: replace(token, identity=replace(identity, grants=left)))
    event(f"after the withdrawal: {after.effect}")
    assert after.effect is Effect.DENY or after.grant_id in {grant.id for grant in left}


@given(any_world)
def test_fewer_grants_never_give_more(world: World) -> None:
    identity = world.question.token.identity
    fewer = replace(identity, grants=identity.grants[1:])
    after = with_token(world, lambda token: replace(token, identity=fewer))
    assert STRENGTH[after.effect] >= STRENGTH[answer(world).effect]


EMPTY_ENTRIES = st.one_of(
    st.builds(
        ScopeEntry,
        st.sampled_from((ServersByIds(frozenset()), ServersByLabels(frozenset()))),
        entries.map(lambda entry: entry.tools),
    ),
    st.builds(
        ScopeEntry,
        entries.map(lambda entry: entry.servers),
        st.sampled_from((ToolsByNames(frozenset()), ToolsByRisk(frozenset()))),
    ),
)


@given(open_worlds(), st.lists(EMPTY_ENTRIES))
def test_an_empty_scope_reaches_no_tool(world: World, empty: list[ScopeEntry]) -> None:
    assume(world.question.tool is not None)
    scope = ListedScope(tuple(empty))
    assert with_token(world, lambda token: replace(token, scope=scope)).effect is Effect.DENY


@given(open_worlds(), st.lists(EMPTY_ENTRIES))
def test_empty_selectors_of_grants_give_no_tool(world: World, empty: list[ScopeEntry]) -> None:
    assume(world.question.tool is not None)
    identity = world.question.token.identity
    grants = tuple(
        replace(grant, servers=entry.servers, tools=entry.tools)
        for grant, entry in zip(identity.grants, empty, strict=False)
    )
    emptied = replace(identity, grants=grants)
    assert with_token(world, lambda token: replace(token, identity=emptied)).effect is Effect.DENY


@given(any_world)
def test_the_unknown_is_denied(world: World) -> None:
    assert answer(world, server=None).effect is Effect.DENY
    assert answer(world, tool="unheard_of").effect is Effect.DENY
    server = world.question.server
    if server is not None:
        assert answer(world, server=replace(server, tools={}), tool="get_it").effect is Effect.DENY


@given(open_worlds(), st.sampled_from((ToolState.QUARANTINED, ToolState.REMOVED)))
def test_a_tool_that_is_not_active_is_denied(world: World, state: ToolState) -> None:
    server = world.question.server
    assert server is not None
    tools = {name: replace(tool, state=state) for name, tool in server.tools.items()}
    for name in tools:
        assert answer(world, server=replace(server, tools=tools), tool=name).effect is Effect.DENY


@given(open_worlds())
def test_a_disabled_server_is_denied(world: World) -> None:
    server = world.question.server
    assert server is not None
    assert answer(world, server=replace(server, enabled=False)).reason_code in {
        "server_disabled",
        "token_expired",
    }


@given(
    open_worlds(), st.sampled_from((IdentityStatus.SUSPENDED, IdentityStatus.OFFBOARDED)), st.integers(0, 3)
)
def test_an_identity_or_owner_that_is_not_active_stops_the_token_and_its_children(
    world: World, status: IdentityStatus, at: int
) -> None:
    chain = list(world.question.token.chain())
    stopped = chain[at % len(chain)]

    def stop(token: Token) -> Token:
        if token is not stopped:
            assert token.parent is not None
            return replace(token, parent=stop(token.parent))
        if token.identity.owner is not None:
            owner = replace(token.identity.owner, status=status)
            return replace(token, identity=replace(token.identity, owner=owner))
        return replace(token, identity=replace(token.identity, status=status))

    assert with_token(world, stop).effect is Effect.DENY


@given(open_worlds(), st.integers(0, 3), st.booleans())
def test_a_revoked_or_expired_token_stops_itself_and_its_children(
    world: World, at: int, revoked: bool
) -> None:
    chain = list(world.question.token.chain())
    stopped = chain[at % len(chain)]

    def stop(token: Token) -> Token:
        if token is not stopped:
            assert token.parent is not None
            return replace(token, parent=stop(token.parent))
        return replace(token, revoked=True) if revoked else replace(token, expires_at=world.at)

    assert with_token(world, stop).effect is Effect.DENY


# Every boundary of a generated world, and a time between each two.
MOMENTS = [half / 2 for half in range(-1, 2 * LATEST + 2)]


@given(any_world)
def test_an_answer_holds_all_through_its_span(world: World) -> None:
    now = answer(world)
    assert now.valid_from <= world.at < now.valid_until
    inside = [moment for moment in MOMENTS if now.valid_from <= moment < now.valid_until]
    event(f"{now.effect} {now.reason_code}")
    for moment in inside:
        then = decide(world.question, world.context, moment)
        assert (then.effect, then.reason_code, then.tool) == (now.effect, now.reason_code, now.tool)


# The expiry of one grant of many rarely changes a list.
@settings(max_examples=3 * settings().max_examples)
@given(any_world)
def test_a_list_holds_all_through_its_span(world: World) -> None:
    question = replace(world.question, tool=None)
    now, names = at_once(visible_tools(question, world.context, world.at))
    assert now.valid_from <= world.at < now.valid_until
    for moment in MOMENTS:
        if now.valid_from <= moment < now.valid_until:
            then, names_then = at_once(visible_tools(question, world.context, moment))
            assert (then.effect, then.reason_code, names_then) == (now.effect, now.reason_code, names)


@given(any_world)
def test_the_visible_tools_are_those_whose_call_is_not_denied(world: World) -> None:
    server = world.question.server
    assume(server is not None)
    assert server is not None
    decision, names = at_once(visible_tools(replace(world.question, tool=None), world.context, world.at))
    callable_names = {name for name in server.tools if answer(world, tool=name).effect is not Effect.DENY}
    assert names == (callable_names if decision.allowed else set())


def credential_versions(token: Token) -> set[tuple[object, int]]:
    found: set[tuple[object, int]] = set()
    for link in token.chain():
        found |= {(link.id, link.version), (link.identity.id, link.identity.version)}
        owner: Identity | None = link.identity.owner
        if owner is not None:
            found.add((owner.id, owner.version))
    return found


@given(any_world)
def test_an_answer_rests_on_all_that_it_read(world: World) -> None:
    decision = answer(world)
    depends_on = set(decision.depends_on)
    assert len(depends_on) == len(decision.depends_on)
    expected = credential_versions(world.question.token)
    expected.add((POLICY_SET_ID, world.context.policy_version))
    server = world.question.server
    if server is not None:
        expected.add((server.id, server.version))
    identities = [link.identity for link in world.question.token.chain()]
    if decision.effect is Effect.DENY:
        expected.add((FLEET_ID, world.context.fleet_version))
        for identity in identities:
            expected |= set(() if identity.owner is None else identity.owner.groups)
            expected |= {*identity.groups, *((grant.id, grant.version) for grant in identity.grants)}
    else:
        granted = {(grant.id, grant.version) for identity in identities for grant in identity.grants}
        assert decision.grant_id in {id for id, _ in depends_on & granted}
        for identity in identities:
            assert {(grant.id, grant.version) for grant in identity.grants} & depends_on
        expected |= depends_on & granted
    assert expected == depends_on


@given(any_world)
def test_a_decision_is_the_same_for_the_same_question(world: World) -> None:
    assert answer(world) == answer(world)


@given(scopes, scopes, servers(), st.sampled_from(Risk))
def test_a_scope_within_another_reaches_no_more(
    child: Scope, parent: Scope, server: Server, risk: Risk
) -> None:
    event(f"within: {scope_within(child, parent)}")
    assume(scope_within(child, parent))
    assert scope_reaches(child, server, None, None) <= scope_reaches(parent, server, None, None)
    for part in Part:
        assert scope_reaches(child, server, None, part) <= scope_reaches(parent, server, None, part)
    for name in TOOL_NAMES:
        tool = Tool(server.id, name, risk, ToolState.ACTIVE, None)
        assert scope_reaches(child, server, tool, None) <= scope_reaches(parent, server, tool, None)


def subsets(of: Iterable[Any]) -> list[frozenset[Any]]:
    items = list(of)
    return [frozenset(some) for size in range(len(items) + 1) for some in combinations(items, size)]


def test_each_server_selector_within_another_selects_no_more() -> None:
    """All server selectors over three servers and three labels."""
    selectors: list[ServerSelector] = [AllServers()]
    selectors += [ServersByIds(ids) for ids in subsets(SERVER_IDS)]
    selectors += [ServersByLabels(labels) for labels in subsets(LABELS)]
    fleet = [(id, dict(labels)) for id in SERVER_IDS for labels in subsets(LABELS)]
    for child, parent in product(selectors, repeat=2):
        scopes = [ListedScope((ScopeEntry(servers, AllTools()),)) for servers in (child, parent)]
        if scope_within(*scopes):
            for id, labels in fleet:
                assert child.matches(id, labels) <= parent.matches(id, labels), (child, parent)


def test_each_tool_selector_within_another_selects_no_more() -> None:
    """All tool selectors over four names and all risks."""
    selectors: list[ToolSelector] = [AllTools()]
    selectors += [ToolsByNames(names) for names in subsets(TOOL_NAMES)]
    selectors += [ToolsByRisk(risks) for risks in subsets(Risk)]
    for child, parent in product(selectors, repeat=2):
        scopes = [ListedScope((ScopeEntry(AllServers(), tools),)) for tools in (child, parent)]
        if scope_within(*scopes):
            for name, risk in product(TOOL_NAMES, Risk):
                assert child.matches(name, risk) <= parent.matches(name, risk), (child, parent)


@given(scopes)
def test_a_scope_is_within_itself_and_within_all_grants(scope: Scope) -> None:
    assert scope_within(scope, scope)
    assert scope_within(scope, GrantsScope())
    assert scope_within(ListedScope(()), scope)


@given(st.lists(entries, max_size=3), st.data())
def test_a_part_of_a_scope_is_within_it(parts: list[ScopeEntry], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(parts), max_size=3)) if parts else []
    assert scope_within(ListedScope(tuple(chosen)), ListedScope(tuple(parts)))


@given(entries, st.booleans())
def test_a_scope_with_resources_or_prompts_is_not_within_one_without(entry: ScopeEntry, which: bool) -> None:
    assume(not isinstance(entry.servers, ServersByIds) or entry.servers.ids)
    without = replace(entry, resources=False, prompts=False)
    wider = replace(without, resources=which, prompts=not which)
    assert not scope_within(ListedScope((wider,)), ListedScope((without,)))


def test_the_span_of_an_answer_without_times_is_all_time() -> None:
    token = Token(FLEET_ID, 1, Identity(FLEET_ID, 1, IdentityStatus.ACTIVE), GrantsScope(), inf)
    decision = decide(AccessRequest(token, None), PolicyContext(1, 1, GrantedIsAllowed()), 0)
    assert (decision.reason_code, decision.valid_from, decision.valid_until) == ("server_unknown", -inf, inf)
