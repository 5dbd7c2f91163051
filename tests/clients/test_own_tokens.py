"""The client and the real service: a secret that is picked up, and tokens that people see to themselves."""

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from scopegate_client import Client
from scopegate_client.errors import Conflict, PermissionDenied
from scopegate_client.models import AllServers, AllTools, GrantsScope, IdentityPrincipal, Token, TokenPickup

from tests.clients.drives import drives


def soon() -> datetime:
    """A time at which a token may end."""
    return datetime.now(UTC) + timedelta(days=1)


@drives(
    *("create_token_pickup", "get_token_pickup", "list_token_pickups", "cancel_token_pickup"),
    *("list_own_pickups", "get_own_pickup", "take_own_pickup"),
)
def test_a_secret_is_picked_up_by_whom_it_is_for(client: Client, person: Client) -> None:
    me = person.me.get().identity_id
    assert me is not None
    issued = client.tokens.create(
        identity_id=me, name="laptop", scope=GrantsScope(), expires_at=soon(), delivery="pickup"
    )
    assert not issued.secret
    assert issued.secret_available is False
    assert isinstance(issued.pickup, TokenPickup)
    assert client.tokens.get_pickup(issued.token.id, issued.pickup.id) == issued.pickup
    assert client.tokens.cancel_pickup(issued.token.id, issued.pickup.id).state == "cancelled"
    pickup = client.tokens.create_pickup(issued.token.id, overlap_s=60)
    assert [link.state for link in client.tokens.list_pickups(issued.token.id)] == ["pending", "cancelled"]
    with pytest.raises(PermissionDenied):
        client.me.get_own_pickup(pickup.id)
    assert list(person.me.list_own_pickups()) == [pickup]
    assert person.me.get_own_pickup(pickup.id).token == _without_reach(issued.token)
    taken = person.me.take_own_pickup(pickup.id, if_match=pickup.revision)
    assert taken.secret.reveal().startswith("sgt_")
    with pytest.raises(Conflict) as spent:
        person.me.take_own_pickup(pickup.id)
    assert spent.value.code == "pickup_already_used"


@drives("list_own_tokens", "rotate_own_token", "revoke_own_token", "list_own_access")
def test_people_see_to_their_own_tokens(client: Client, person: Client) -> None:
    me = person.me.get().identity_id
    assert me is not None
    client.grants.create(principal=IdentityPrincipal(id=me), servers=AllServers(), tools=AllTools())
    token = client.tokens.create(identity_id=me, name="laptop", scope=GrantsScope(), expires_at=soon()).token
    assert list(person.me.list_own_tokens()) == [_without_reach(token)]
    rotated = person.me.rotate_own_token(token.id, overlap_s=60, if_match=token.revision)
    assert rotated.secret
    assert rotated.token.scope == token.scope
    ended = person.me.revoke_own_token(token.id, reason="laptop lost")
    assert ended.revoked.tokens == [token.id]
    assert list(person.me.list_own_tokens(status="active")) == []
    slugs = [server.slug for server in client.servers.list()]
    assert {server.slug for server in person.me.list_own_access()} <= set(slugs)


def _without_reach(token: Token) -> Token:
    """The token as it is shown to a caller who may not read servers and tools."""
    return attrs.evolve(token, reaches=None, warnings=None)
