"""The directory finds at least the servers that ``decide`` allows, and few more."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.domain.access import AccessRequest, PolicyContext, decide
from app.domain.objects import Grant, Identity, IdentityStatus, Server, Token
from app.domain.policy import GrantedIsAllowed
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
)
from app.domain.visibility import make_directory, within

_LABELS = st.dictionaries(st.sampled_from(["env", "team"]), st.sampled_from(["a", "b"]))
_IDS = [UUID(int=number) for number in range(1, 7)]
_SELECTORS: st.SearchStrategy[ServerSelector] = st.one_of(
    st.just(AllServers()),
    st.frozensets(st.sampled_from([*_IDS, UUID(int=99)])).map(ServersByIds),
    _LABELS.map(lambda labels: ServersByLabels(frozenset(labels.items()))),
)
_FLEETS = st.lists(_LABELS, min_size=1, max_size=len(_IDS)).map(
    lambda labels: {
        id: Server(id, 1, f"server-{id.int}", enabled=True, labels=each)
        for id, each in zip(_IDS, labels, strict=False)
    }
)
_SCOPES: st.SearchStrategy[Scope] = st.one_of(
    st.just(GrantsScope()),
    st.lists(_SELECTORS.map(lambda servers: ScopeEntry(servers, AllTools())), max_size=3).map(
        lambda entries: ListedScope(tuple(entries))
    ),
)


def _token(scope: Scope, granted: Sequence[ServerSelector]) -> Token:
    grants = tuple(
        Grant(UUID(int=1000 + place), 1, servers, AllTools(), resources=True, prompts=True)
        for place, servers in enumerate(granted)
    )
    identity = Identity(UUID(int=500), 1, IdentityStatus.ACTIVE, grants=grants)
    return Token(UUID(int=600), 1, identity, scope, inf)


@given(_FLEETS, st.lists(_SELECTORS, max_size=3))
def test_a_directory_names_exactly_what_the_selectors_match(
    servers: dict[UUID, Server], selectors: list[ServerSelector]
) -> None:
    named = make_directory(servers).named_by(selectors)

    matched = {
        id for id, server in servers.items() if any(each.matches(id, server.labels) for each in selectors)
    }
    assert sorted(server.id.int for server in named) == sorted(id.int for id in matched)


@given(_FLEETS, _SCOPES, st.lists(_SELECTORS, max_size=3))
def test_no_server_is_left_out_that_a_token_may_use(
    servers: dict[UUID, Server], scope: Scope, granted: list[ServerSelector]
) -> None:
    token, context = _token(scope, granted), PolicyContext(1, 1, GrantedIsAllowed())

    found = {server.id for server in within(token, make_directory(servers))}

    allowed = {
        id for id, server in servers.items() if decide(AccessRequest(token, server), context, 0.0).allowed
    }
    assert allowed <= found


@given(_FLEETS, _SCOPES, st.lists(_SELECTORS, max_size=3))
def test_an_attenuated_token_is_looked_for_as_its_own_scope_says(
    servers: dict[UUID, Server], scope: Scope, granted: list[ServerSelector]
) -> None:
    parent = _token(GrantsScope(), granted)
    token = replace(parent, id=UUID(int=601), scope=scope, parent=parent)

    found = {server.id for server in within(token, make_directory(servers))}

    context = PolicyContext(1, 1, GrantedIsAllowed())
    allowed = {
        id for id, server in servers.items() if decide(AccessRequest(token, server), context, 0.0).allowed
    }
    assert allowed <= found


def test_of_a_large_fleet_those_are_looked_at_that_a_scope_or_else_a_grant_names() -> None:
    servers = {
        UUID(int=number): Server(
            UUID(int=number), 1, f"s{number}", enabled=True, labels={"team": f"{number % 100}"}
        )
        for number in range(1, 2001)
    }
    directory = make_directory(servers)
    team, two = (
        ServersByLabels(frozenset({("team", "7")})),
        ServersByIds(frozenset({UUID(int=1), UUID(int=2)})),
    )
    listed = ListedScope((ScopeEntry(two, AllTools()),))
    everywhere = ListedScope((ScopeEntry(AllServers(), AllTools()),))

    assert len(within(_token(listed, [AllServers()]), directory)) == 2
    assert len(within(_token(GrantsScope(), [team, two]), directory)) == 22
    assert len(within(_token(everywhere, [team]), directory)) == 20


def test_a_directory_of_the_same_labels_holds_the_servers_as_they_are_now() -> None:
    server = Server(UUID(int=1), 1, "files", enabled=True, labels={"env": "prod"})
    now = replace(server, version=2, enabled=False)

    directory = make_directory({now.id: now}, make_directory({server.id: server}))

    assert list(directory.named_by([ServersByLabels(frozenset({("env", "prod")}))])) == [now]
