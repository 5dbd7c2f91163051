"""The client and the real service: servers, tools, grants, tokens and the trail they leave."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from scopegate_client import Client, Secret
from scopegate_client.errors import Conflict, NotFound
from scopegate_client.models import (
    AllServers,
    AllTools,
    AppliedProposal,
    BearerCredential,
    GrantsScope,
    GroupPrincipal,
    Identity,
    IdentityAccess,
    IdentityPrincipal,
    ListedScope,
    ScopeEntry,
    ServersByIds,
    SimulatedChange,
    StaleGrant,
    TokenBulkRevokeFilter,
    ToolsByRisk,
)

from tests.clients.drives import drives
from tests.clients.live import Live
from tests.clients.names import name


def person(client: Client) -> Identity:
    """A person who may use everything."""
    ada = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
    client.grants.create(principal=IdentityPrincipal(id=ada.id), servers=AllServers(), tools=AllTools())
    return ada


def soon() -> datetime:
    """A time at which a token may end."""
    return datetime.now(UTC) + timedelta(days=1)


@drives(
    *("create_server", "get_server", "list_servers", "update_server", "sync_server", "delete_server"),
    *("list_tools", "get_tool", "update_tool", "get_server_instructions", "approve_server_instructions"),
)
def test_a_server_is_registered_and_its_tools_are_found(client: Client, live: Live) -> None:
    slug = name("notes")
    server = client.servers.create(slug=slug, name="Notes", url=live.upstream_url, labels={"env": "test"})
    assert client.servers.get(server.id).labels == {"env": "test"}
    assert [found.id for found in client.servers.list(slug=slug)] == [server.id]
    assert client.servers.sync(server.id).sync.state == "ok"
    tools = {tool.name: tool for tool in client.tools.list(server_id=server.id)}
    assert tools["read_note"].risk == "read"
    assert client.tools.get(tools["read_note"].id).input_schema["type"] == "object"
    assert client.tools.update(tools["write_note"].id, risk="destructive").risk == "destructive"
    shown = client.servers.get_instructions(server.id)
    assert (shown.state, shown.latest) == ("none", None)
    with pytest.raises(Conflict):
        client.servers.approve_instructions(server.id, digest="0" * 64)
    assert client.servers.update(server.id, status="disabled").status == "disabled"
    client.servers.delete(server.id)
    with pytest.raises(NotFound):
        client.servers.get(server.id)


@drives(
    "list_identity_access",
    "list_tool_access",
    "list_tool_grants",
    "explain_access",
    "get_access_matrix",
    "preview_grant",
)
def test_what_somebody_reaches_comes_with_the_grant_that_gives_it(client: Client, live: Live) -> None:
    server = client.servers.create(slug=name("notes"), url=live.upstream_url)
    client.servers.sync(server.id)
    ada = client.identities.create(kind="person", user_name=name("ada"))
    team = client.groups.create(name=name("team"))
    client.groups.add_member(team.id, ada.id)
    grant = client.grants.create(
        principal=GroupPrincipal(id=team.id),
        servers=ServersByIds(ids=[server.id]),
        tools=ToolsByRisk(risk=["read"]),
    )
    [reached] = client.identities.list_access(ada.id, server_id=server.id)
    assert (reached.slug, reached.grant_id, reached.group_id) == (server.slug, grant.id, team.id)
    assert "read_note" in [tool.name for tool in reached.tools]
    assert {tool.grant_id for tool in reached.tools} == {grant.id}
    [row] = client.access.get_matrix(identity_id=[ada.id], server_id=[server.id]).items
    assert (row.identity_id, row.stopped) == (ada.id, None)
    assert [(cell.server_id, cell.tools) for cell in row.cells] == [(server.id, len(reached.tools))]
    [caller] = client.tools.list_access(reached.tools[0].tool_id)
    assert (caller.identity_id, caller.group_id) == (ada.id, team.id)
    assert [one.id for one in client.grants.list(server_id=server.id, group_id=team.id)] == [grant.id]
    found = client.tools.list_grants(reached.tools[0].tool_id, unused_for_days=60)
    assert [one.last_used_at for one in found if one.id == grant.id] == [None]
    asked = client.grants.preview(servers=ServersByIds(ids=[server.id]), tools=ToolsByRisk(risk=["read"]))
    assert (asked.reaches.servers, asked.reaches.tools) == (1, len(reached.tools))
    told = client.access.explain(identity_id=ada.id, server=server.slug, tool="write_note")
    assert (told.reason_code, told.considered[0].grants[0].faults) == ("no_grant", ["tool_not_covered"])
    assert told.missing_grants[0].principal == IdentityPrincipal(id=ada.id)
    [then] = client.identities.list_access(ada.id, server_id=server.id, at=datetime.now(UTC))
    assert then == reached
    client.identities.suspend(ada.id)
    [page] = client.identities.list_access(ada.id).pages()
    assert page.items == []
    assert isinstance(page, IdentityAccess)
    assert page.stopped == "identity_suspended"


@drives("simulate_policies")
def test_what_a_policy_would_have_done_is_told_before_it_is_published(client: Client) -> None:
    nobody = 'forbid (principal, action == Action::"call_tool", resource);'
    found = client.policies.simulate(changes=[SimulatedChange(text=nobody)], days=1)
    assert (found.newly_denied.calls, found.not_replayable.calls, found.calls) == (0, 0, [])


@drives("create_tool", "get_tool_changes", "approve_tool", "delete_tool")
def test_a_tool_by_hand_is_approved_as_it_was_seen(client: Client, live: Live) -> None:
    server = client.servers.create(slug=name("notes"), url=live.upstream_url)
    tool = client.tools.create(server_id=server.id, name="print", input_schema={"type": "object"})
    with pytest.raises(Conflict) as changed:
        client.tools.approve(tool.id, definition_digest="0" * 64)
    assert changed.value.code == "definition_changed"
    shown = client.tools.get_changes(tool.id)
    assert (shown.latest.definition_digest, shown.changes) == (tool.definition_digest, [])
    approved = client.tools.approve(tool.id, definition_digest=tool.definition_digest)
    assert approved.approved_digest == tool.definition_digest
    client.tools.delete(tool.id)


@drives(
    *("set_server_credential", "delete_server_credential"),
    *("set_identity_credential", "delete_identity_credential", "list_server_credentials"),
)
def test_a_credential_for_a_server_goes_in_and_never_out(client: Client, live: Live) -> None:
    server = client.servers.create(slug=name("notes"), url=live.upstream_url)
    ada = person(client)
    stored = client.servers.set_credential(server.id, BearerCredential(token="s3cret-of-the-server"))
    own = client.servers.set_identity_credential(
        server.id, ada.id, {"kind": "bearer", "token": Secret("own")}
    )
    assert (stored.kind, own.kind) == ("bearer", "bearer")
    assert [one.identity_id for one in client.servers.list_credentials(server.id)] == [ada.id, None]
    client.servers.delete_identity_credential(server.id, ada.id)
    client.servers.delete_credential(server.id)


@drives("create_grant", "get_grant", "list_grants", "update_grant", "delete_grant")
def test_a_grant_is_made_narrowed_and_ended(client: Client) -> None:
    ada = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
    grant = client.grants.create(
        principal=IdentityPrincipal(id=ada.id),
        servers=AllServers(),
        tools=ToolsByRisk(risk=["read"]),
        reason="on call",
    )
    assert isinstance(grant.tools, ToolsByRisk)
    assert client.grants.get(grant.id) == grant
    assert [found.id for found in client.grants.list(identity_id=ada.id)] == [grant.id]
    ends = soon()
    assert client.grants.update(grant.id, expires_at=ends).expires_at == ends
    client.grants.delete(grant.id)
    assert client.grants.list(identity_id=ada.id).first() is None


@drives("create_token", "get_token", "list_tokens", "narrow_token", "rotate_token", "revoke_token")
def test_a_token_is_issued_narrowed_rotated_and_revoked(client: Client) -> None:
    ada = person(client)
    entry = ScopeEntry(servers=AllServers(), tools=ToolsByRisk(risk=["read"]))
    issued = client.tokens.create(
        identity_id=ada.id, name="laptop", scope=ListedScope(entries=[entry]), expires_at=soon()
    )
    assert issued.secret.reveal().startswith("sgt_")
    assert issued.secret.reveal() not in repr(issued)
    assert client.tokens.get(issued.token.id).name == "laptop"
    assert client.tokens.narrow(issued.token.id, name="old laptop").name == "old laptop"
    rotated = client.tokens.rotate(issued.token.id, overlap_s=60)
    assert rotated.secret != issued.secret
    assert [token.id for token in client.tokens.list(identity_id=ada.id, status="active")] == [
        issued.token.id
    ]
    assert client.tokens.revoke(issued.token.id, reason="lost", dry_run=True).token.status == "active"
    revocation = client.tokens.revoke(issued.token.id, reason="lost")
    assert (revocation.changed, revocation.token.status) == (True, "revoked")
    with pytest.raises(Conflict) as ended:
        client.tokens.rotate(issued.token.id)
    assert ended.value.code == "token_ended"


@drives("list_stale_access", "apply_stale_access")
def test_a_grant_that_nobody_used_is_found_and_not_touched_unless_as_it_was_read(client: Client) -> None:
    ada = person(client)
    # It is too young to be judged, so nothing is proposed.
    [young] = client.access.list_stale(identity_id=[ada.id], state=["unknown"], unused_for_days=1)
    assert isinstance(young, StaleGrant)
    assert (young.used_by, young.held_by, young.proposal) == (0, 1, None)
    assert list(client.access.list_stale(identity_id=[ada.id])) == []
    assert [one.kind for one in client.access.list_stale(grant_id=[young.grant_id], state=["unknown"])] == [
        "grant"
    ]
    guessed = AppliedProposal(grant_id=young.grant_id, proposal_digest="0" * 64)
    done = client.access.apply_stale(unused_for_days=1, items=[guessed], dry_run=True)
    assert [(one.grant_id, one.outcome, one.grant) for one in done.items] == [
        (young.grant_id, "changed", None)
    ]


@drives("bulk_revoke_tokens")
def test_many_tokens_end_at_once(client: Client) -> None:
    ada = person(client)
    made = {
        client.tokens.create(identity_id=ada.id, name=text, scope=GrantsScope(), expires_at=soon()).token.id
        for text in ("laptop", "phone")
    }
    of_ada = TokenBulkRevokeFilter(identity_id=ada.id)
    assert set(client.tokens.bulk_revoke(filter=of_ada, reason="lost", dry_run=True).revoked.tokens) == made
    assert (
        set(client.tokens.bulk_revoke(filter={"identity_id": ada.id}, reason="lost").revoked.tokens) == made
    )
    assert {token.status for token in client.tokens.list(identity_id=ada.id)} == {"revoked"}


def followed(
    client: Client, who: Identity, since: datetime, after: str | None, count: int
) -> tuple[list[str], str]:
    """So many actions on somebody, and where one is then. What was just done shows once nothing older is open."""
    actions: list[str] = []
    while len(actions) < count:
        following = client.audit_events.follow(after=after, since=since, object_id=who.id, wait=False)
        actions += [event.action for event in following]
        after = following.cursor
    return actions, after or ""


@drives("list_audit_events", "get_audit_event", "get_audit_event_arguments")
def test_the_trail_is_searched_and_followed(client: Client) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=5)
    ada = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
    client.identities.update(ada.id, display_name="Ada L.")
    found = list(client.audit_events.list(object_id=ada.id, since=begun, until=datetime.now(UTC)))
    assert [event.action for event in found] == ["identity.update", "identity.create"]
    assert client.audit_events.get(found[0].id) == found[0]
    assert client.audit_events.get_arguments(found[0].id).kept is False
    actions, cursor = followed(client, ada, begun, None, 2)
    assert actions == ["identity.create", "identity.update"]
    client.identities.suspend(ada.id)
    assert followed(client, ada, begun, cursor, 1)[0] == ["identity.suspend"]


@drives("get_audit_event_stats")
def test_the_trail_is_counted_by_the_hour(client: Client) -> None:
    client.groups.create(name=name("team"))
    counted = client.audit_events.get_stats(
        action="group.create", since=datetime.now(UTC) - timedelta(hours=2)
    )
    assert counted.total.events >= 1
    assert sum(hour.count for hour in counted.hours) == counted.total.count
    assert [hour.hour.minute for hour in counted.hours] == [0] * 3
    assert counted.is_complete


def test_the_secret_of_an_issued_token_opens_the_gateway(client: Client, live: Live) -> None:
    server = client.servers.create(slug=name("notes"), url=live.upstream_url)
    ada = person(client)
    scope = ListedScope(entries=[ScopeEntry(servers=ServersByIds(ids=[server.id]), tools=AllTools())])
    issued = client.tokens.create(identity_id=ada.id, name="agent", scope=scope, expires_at=soon())
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    headers = {"Accept": "application/json, text/event-stream"}
    assert httpx.post(f"{live.url}/mcp", json=body, headers=headers, timeout=60).status_code == 401
    headers["Authorization"] = f"Bearer {issued.secret.reveal()}"
    assert httpx.post(f"{live.url}/mcp", json=body, headers=headers, timeout=60).status_code != 401
