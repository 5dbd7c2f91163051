"""The client and the real service: whether a token works, and where it does not, why."""

from datetime import UTC, datetime, timedelta

import pytest
from scopegate_client import Client
from scopegate_client.errors import PermissionDenied
from scopegate_client.models import AllTools, GrantsScope, IdentityPrincipal, ServersByIds

from tests.clients.drives import drives
from tests.clients.live import Live
from tests.clients.names import name


@drives("check_token", "check_own_token")
def test_a_token_is_checked_down_to_its_servers(client: Client, live: Live) -> None:
    server = client.servers.create(slug=name("notes"), url=live.upstream_url)
    client.servers.sync(server.id)
    ada = client.identities.create(kind="person", user_name=name("ada"))
    reached = ServersByIds(ids=[server.id])
    client.grants.create(principal=IdentityPrincipal(id=ada.id), servers=reached, tools=AllTools())
    ends = datetime.now(UTC) + timedelta(days=9)
    issued = client.tokens.create(identity_id=ada.id, name="laptop", scope=GrantsScope(), expires_at=ends)
    assert issued.secret is not None
    check = client.tokens.check(issued.token.id, secret=issued.secret.reveal())
    assert (check.state, check.unchecked_servers) == ("ok", 0)
    assert [step.name for step in check.steps] == ["secret", "token", "identity", "access", "server"]
    assert check.steps[-1].server == server.slug
    client.servers.update(server.id, status="disabled")
    check = client.tokens.check(issued.token.id, server_ids=[server.id])
    assert [(step.name, step.code) for step in check.steps if step.state == "fail"] == [
        ("server", "server_disabled")
    ]
    # A program does not act as the person who answers for it.
    with pytest.raises(PermissionDenied):
        client.me.check_own_token(issued.token.id)
