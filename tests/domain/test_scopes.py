"""Comparison of scopes: several entries can cover one together, and the largest scopes are fast."""

from time import process_time
from uuid import UUID

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

ONE, TWO = (ServersByIds(frozenset({UUID(int=number)})) for number in (1, 2))
BOTH = ServersByIds(ONE.ids | TWO.ids)
READ, WRITE = ToolsByRisk(frozenset({Risk.READ})), ToolsByRisk(frozenset({Risk.WRITE}))
EITHER = ToolsByRisk(READ.risks | WRITE.risks)


def test_entries_cover_together_what_each_pair_of_server_and_tool_finds_in_one_of_them() -> None:
    child = ListedScope((ScopeEntry(BOTH, EITHER),))
    assert scope_within(child, ListedScope((ScopeEntry(ONE, EITHER), ScopeEntry(TWO, AllTools()))))
    assert scope_within(child, ListedScope((ScopeEntry(BOTH, READ), ScopeEntry(AllServers(), WRITE))))
    crossed = (ScopeEntry(ONE, READ), ScopeEntry(TWO, WRITE))
    assert not scope_within(child, ListedScope(crossed))
    assert scope_within(child, ListedScope((*crossed, ScopeEntry(ONE, WRITE), ScopeEntry(TWO, READ))))


def test_an_entry_that_may_less_covers_nothing_of_one_that_may_more() -> None:
    child = ListedScope((ScopeEntry(BOTH, EITHER, resources=True),))
    parents = (ScopeEntry(ONE, EITHER, resources=True), ScopeEntry(AllServers(), AllTools(), prompts=True))
    assert not scope_within(child, ListedScope(parents))
    assert scope_within(child, ListedScope((*parents, ScopeEntry(TWO, AllTools(), resources=True))))


def test_what_reaches_nothing_lies_within_everything_that_could_hold_it() -> None:
    nothing = ListedScope((ScopeEntry(ServersByIds(frozenset()), AllTools(), resources=True),))
    assert scope_within(nothing, ListedScope(()))
    unlabelled = ScopeEntry(ServersByLabels(frozenset()), ToolsByNames(frozenset()))
    assert scope_within(ListedScope((unlabelled,)), ListedScope((ScopeEntry(ONE, READ),)))


def test_the_widest_scopes_that_are_accepted_are_compared_in_no_time() -> None:
    servers = ServersByIds(frozenset(UUID(int=number) for number in range(1_000)))
    tools = ToolsByNames(frozenset(map(str, range(1_000))))
    scope = ListedScope((ScopeEntry(servers, tools),) * 20)
    began = process_time()
    assert scope_within(scope, scope)
    assert process_time() - began < 5
