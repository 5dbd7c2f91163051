"""The client and the real service: an answer that got lost, and the request that is sent again."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from scopegate_client import Client
from scopegate_client.errors import ApiError, SecretNotShown, ValidationFailed
from scopegate_client.models import AllServers, AllTools, GrantsScope, IdentityPrincipal

from tests.clients.live import Live
from tests.clients.names import name


class LosesAnswers(httpx.HTTPTransport):
    """The real network, but that the first answer to each create is lost on its way back."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        key = request.headers.get("Idempotency-Key")
        if key is None or key in self.lost:
            return response
        self.lost.add(key)
        response.read()
        response.close()
        raise httpx.ReadError("the answer got lost")


def test_a_create_whose_answer_got_lost_happens_once(live: Live) -> None:
    transport = LosesAnswers()
    owner = live.owner
    with Client(
        live.url, client_id=live.owner_client_id, client_secret=owner.secret, transport=transport
    ) as client:
        ada = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
        assert [found.id for found in client.identities.list(user_name=ada.user_name)] == [ada.id]
        client.grants.create(principal=IdentityPrincipal(id=ada.id), servers=AllServers(), tools=AllTools())
        issued = client.tokens.create(
            identity_id=ada.id,
            name="laptop",
            scope=GrantsScope(),
            expires_at=datetime.now(UTC) + timedelta(days=1),
        )
        assert [token.id for token in client.tokens.list(identity_id=ada.id)] == [issued.token.id]
        assert issued.secret_available is False
        with pytest.raises(SecretNotShown):
            issued.secret.reveal()
        assert client.tokens.rotate(issued.token.id).secret.reveal().startswith("sgt_")
    assert len(transport.lost) == 3


def test_the_callers_own_key_makes_a_script_repeatable(client: Client) -> None:
    key = name("joiner")
    first = client.groups.create(name=key, idempotency_key=key)
    assert client.groups.create(name=key, idempotency_key=key) == first
    with pytest.raises(ValidationFailed) as other:
        client.groups.create(name=f"not-{key}", idempotency_key=key)
    assert other.value.code == "idempotency_key_reused"


def test_a_cursor_is_not_of_another_list(client: Client) -> None:
    with pytest.raises(ApiError) as refused:
        list(client.audit_events.follow(after="nonsense", wait=False))
    assert refused.value.status == 400
