"""The client and the real service: how people sign in, and who of them administers."""

import asyncio
from collections.abc import Callable

import pytest
from scopegate_client import Client
from scopegate_client.errors import NotFound, Unauthenticated
from scopegate_client.models import Workload, WorkloadClaims

from app.db.engine import make_engine, make_sessions
from app.features.administrators.sign_in import sign_in
from app.lib.ids import IDENTITY_PROVIDER, format_id
from tests.clients.conftest import PASSWORD
from tests.clients.drives import drives
from tests.clients.live import Live
from tests.clients.names import name
from tests.features.administrators.people import claims, stored_provider


async def seen(live: Live, sub: str) -> str:
    """Let an admin sign in by a provider that is there for this alone; the value is the provider's id."""
    engine = make_engine(live.database_url, pool_size=1, name="test")
    try:
        sessions = make_sessions(engine)
        provider = await stored_provider(sessions, issuer=f"https://{sub}.example")
        await sign_in(sessions, provider, claims(sub, "sg-admins"), None)
        return format_id(IDENTITY_PROVIDER, provider.id)
    finally:
        await engine.dispose()


@drives("list_administrators", "get_administrator", "disable_administrator", "enable_administrator")
def test_an_administrator_is_kept_out_and_let_in_again(client: Client, live: Live) -> None:
    sub = name("ada")
    asyncio.run(seen(live, sub))
    [ada] = list(client.administrators.list(q=sub))
    assert client.administrators.get(ada.id) == ada
    assert client.administrators.disable(ada.id, if_match=ada.revision).status == "disabled"
    assert client.administrators.list(q=sub, status="active").first() is None
    assert client.administrators.enable(ada.id).status == "active"


@drives(
    *("create_identity_provider", "get_identity_provider", "list_identity_providers"),
    *("update_identity_provider", "delete_identity_provider"),
)
def test_a_provider_is_registered_changed_and_removed(client: Client) -> None:
    ada = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
    account = client.service_accounts.create(name=name("ci"), owner_id=ada.id, role="auditor")
    issuer = f"https://{name('sso')}.example.com"
    provider = client.identity_providers.create(
        name="SSO",
        issuer=issuer,
        audiences=["https://scopegate.example.com"],
        role_map={"admins": "admin"},
        workloads=[Workload(service_account_id=account.id, claims=WorkloadClaims(sub="repo:example/infra"))],
    )
    assert client.identity_providers.get(provider.id) == provider
    assert [found.id for found in client.identity_providers.list(issuer=issuer)] == [provider.id]
    changed = client.identity_providers.update(provider.id, role_map={"admins": None, "auditors": "auditor"})
    assert changed.role_map == {"auditors": "auditor"}
    client.identity_providers.delete(provider.id)
    with pytest.raises(NotFound):
        client.identity_providers.get(provider.id)


@drives("create_break_glass_token")
def test_the_local_administrator_gets_in_with_a_password(
    live: Live, open_client: Callable[..., Client]
) -> None:
    stranger = open_client(anonymous=True)
    with pytest.raises(Unauthenticated):
        stranger.break_glass.create_token(password="wrong", reason="the provider is down")
    token = stranger.break_glass.create_token(password=PASSWORD, reason="the provider is down")
    assert token.access_token.reveal() not in repr(token)
    me = open_client(access_token=token.access_token).me.get()
    assert (me.type, me.role) == ("break_glass", "owner")
