"""A narrowed grant gives nothing new, and everything that was used."""

from collections.abc import Mapping
from math import inf
from uuid import UUID

from hypothesis import assume, given
from hypothesis import strategies as st

from app.domain.access import AccessRequest, decide
from app.domain.objects import Grant, Identity, IdentityStatus, Part, Server, Tool, ToolState
from app.domain.risk import Risk
from app.domain.scopes import (
    AllServers,
    AllTools,
    ListedScope,
    ScopeEntry,
    ServersByIds,
    ServersByLabels,
    ToolsByNames,
    ToolsByRisk,
    scope_within,
)
from app.domain.unused_access import (
    Note,
    RetainedAccess,
    grants_giving,
    narrow,
    notes_on,
    reach_of,
)
from app.lib.ids import new_id
from tests.domain.worlds import (
    SERVER_IDS,
    TOOL_NAMES,
    World,
    at_once,
    entries,
    open_worlds,
    servers,
    worlds,
)

MOST = 1_000
Fleet = Mapping[UUID, Server]
fleets = st.lists(servers(), min_size=1, max_size=3, unique_by=lambda one: one.id).map(
    lambda found: {one.id: one for one in found}
)
kept = st.dictionaries(
    st.sampled_from(SERVER_IDS),
    st.builds(
        RetainedAccess,
        st.frozensets(st.sampled_from((*TOOL_NAMES, "gone"))),
        st.booleans(),
        st.booleans(),
        st.sampled_from((False, False, True)),
    ),
)
limits = st.sampled_from((MOST, 2, 1, 0))


def right(right: ScopeEntry, fleet: Fleet) -> set[tuple[UUID, str]]:
    """All access that a right gives in a fleet, for tools in any state and other parts."""
    found = set()
    for server in fleet.values():
        if not right.servers.matches(server.id, server.labels):
            continue
        found |= {
            (server.id, name) for name, tool in server.tools.items() if right.tools.matches(name, tool.risk)
        }
        found |= {(server.id, "/resources")} if right.resources else set()
        found |= {(server.id, "/prompts")} if right.prompts else set()
    return found


def wanted(kept: Mapping[UUID, RetainedAccess]) -> set[tuple[UUID, str]]:
    found = set()
    for id, one in kept.items():
        found |= {(id, name) for name in (TOOL_NAMES if one.whole else one.tools)}
        found |= {(id, "/resources")} if one.resources or one.whole else set()
        found |= {(id, "/prompts")} if one.prompts or one.whole else set()
    return found


@given(entries, fleets, kept, limits)
def test_what_is_proposed_gives_no_more_than_before_and_all_that_was_used(
    before: ScopeEntry, fleet: Fleet, used: dict[UUID, RetainedAccess], most: int
) -> None:
    after = narrow(before, at_once(reach_of(before, fleet.values())), used, fleet, most)
    if after is None:
        assert not right(before, fleet) & wanted(used)
        return
    assert right(after, fleet) <= right(before, fleet)
    assert right(before, fleet) & wanted(used) <= right(after, fleet)
    if isinstance(after.servers, ServersByIds) and after.servers != before.servers:
        assert len(after.servers.ids) <= most
    if isinstance(after.tools, ToolsByNames) and after.tools != before.tools:
        assert len(after.tools.names) <= most


@given(entries, fleets, kept)
def test_where_nothing_follows_labels_or_risk_it_gives_no_more_in_any_fleet_to_come(
    before: ScopeEntry, fleet: Fleet, used: dict[UUID, RetainedAccess]
) -> None:
    assume(not isinstance(before.servers, ServersByLabels) and not isinstance(before.tools, ToolsByRisk))
    after = narrow(before, at_once(reach_of(before, fleet.values())), used, fleet, MOST)
    if after is not None:
        assert scope_within(ListedScope((after,)), ListedScope((before,)))


@given(entries, fleets, kept)
def test_what_was_narrowed_is_not_narrowed_again_by_the_same_use(
    before: ScopeEntry, fleet: Fleet, used: dict[UUID, RetainedAccess]
) -> None:
    after = narrow(before, at_once(reach_of(before, fleet.values())), used, fleet, MOST)
    if after is not None:
        assert narrow(after, at_once(reach_of(after, fleet.values())), used, fleet, MOST) == after


@given(st.one_of(worlds(), open_worlds()), st.sampled_from((None, *Part)))
def test_a_use_counts_for_every_grant_that_gives_it_the_first_of_which_decides(
    world: World, part: Part | None
) -> None:
    question = world.question
    question = AccessRequest(
        question.token, question.server, None if part else question.tool, None, question.address, part
    )
    decision = decide(question, world.context, world.at)
    if not decision.allowed or question.server is None:
        return
    for place, link in enumerate(question.token.chain()):
        found = grants_giving(link.identity, question.server, question.tool, part, world.at)
        live = [
            grant.id for grant in link.identity.grants if grant.id in found and world.at < grant.expires_at
        ]
        assert live
        assert place or live[0] == decision.grant_id


def tool(name: str, risk: Risk = Risk.READ) -> Tool:
    return Tool(new_id(), name, risk, ToolState.ACTIVE, b"digest")


def server(*tools: Tool, **labels: str) -> Server:
    return Server(new_id(), 1, "notes", True, labels, {one.name: one for one in tools})


def proposed(before: ScopeEntry, used: Mapping[UUID, RetainedAccess], *fleet: Server) -> ScopeEntry | None:
    by_id = {one.id: one for one in fleet}
    return narrow(before, at_once(reach_of(before, fleet)), used, by_id, MOST)


def test_a_list_that_would_be_too_long_is_not_proposed() -> None:
    fleet = {one.id: one for one in (server(tool("get"), tool("put")) for _ in range(3))}
    used = {id: RetainedAccess(frozenset({"get"})) for id in list(fleet)[:2]}
    before = ScopeEntry(AllServers(), AllTools())
    reach = at_once(reach_of(before, fleet.values()))
    assert narrow(before, reach, used, fleet, 2) == ScopeEntry(
        ServersByIds(frozenset(used)), ToolsByNames(frozenset({"get"}))
    )
    assert narrow(before, reach, used, fleet, 1) == ScopeEntry(AllServers(), ToolsByNames(frozenset({"get"})))
    assert narrow(before, reach, used, fleet, 0) == before


def test_names_that_would_give_a_dangerous_namesake_are_not_proposed() -> None:
    one = server(tool("get"), tool("put", Risk.WRITE))
    other = server(tool("get", Risk.DESTRUCTIVE), tool("list"), tool("put", Risk.WRITE))
    before = ScopeEntry(AllServers(), ToolsByRisk(frozenset({Risk.READ, Risk.WRITE})))
    used = {one.id: RetainedAccess(frozenset({"get"})), other.id: RetainedAccess(frozenset({"list"}))}
    after = proposed(before, used, one, other)
    assert after == ScopeEntry(AllServers(), ToolsByRisk(frozenset({Risk.READ})))
    # By itself, its name is enough.
    alone = proposed(before, {one.id: used[one.id]}, one, other)
    assert alone == ScopeEntry(ServersByIds(frozenset({one.id})), ToolsByNames(frozenset({"get"})))
    assert notes_on(before, alone) == (Note.NEW_SERVERS_EXCLUDED, Note.RISKS_NO_LONGER_MATCHED)


def test_a_selector_that_loses_nothing_of_today_goes_on_following_what_comes() -> None:
    one, other = server(tool("get"), env="prod"), server(tool("get"), env="prod")
    before = ScopeEntry(ServersByLabels(frozenset({("env", "prod")})), AllTools(), True, True)
    all_used = {id: RetainedAccess(frozenset({"get"}), True, True) for id in (one.id, other.id)}
    assert proposed(before, all_used, one, other) == before
    after = proposed(before, {one.id: RetainedAccess(frozenset({"get"}))}, one, other)
    assert after == ScopeEntry(ServersByIds(frozenset({one.id})), AllTools(), False, False)
    assert notes_on(before, after) == (Note.LABELS_NO_LONGER_MATCHED,)
    assert proposed(before, {}, one, other) is None
    # Uses of another grant retain nothing of this one.
    assert (
        proposed(ScopeEntry(before.servers, AllTools()), {one.id: RetainedAccess(resources=True)}, one, other)
        is None
    )
    # A server of which the grant gives nothing is no reason to list the others.
    empty = server(env="prod")
    bare = ScopeEntry(before.servers, AllTools())
    assert proposed(bare, all_used, one, other, empty) == bare
    assert proposed(before, all_used, one, other, empty) != before


def test_a_grant_that_gives_the_same_as_another_is_of_use_too() -> None:
    here = server(tool("get"))
    first, second = (Grant(new_id(), 1, AllServers(), AllTools(), True, False) for _ in range(2))
    later = Grant(new_id(), 1, AllServers(), AllTools(), True, True, not_before=9.0, expires_at=inf)
    ada = Identity(new_id(), 1, IdentityStatus.ACTIVE, grants=(first, second, later))
    assert grants_giving(ada, here, "get", None, 5.0) == [first.id, second.id]
    assert grants_giving(ada, here, None, Part.PROMPTS, 5.0) == []
    assert grants_giving(ada, here, None, Part.PROMPTS, 9.0) == [later.id]
