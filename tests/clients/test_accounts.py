"""The client and the real service: who signs in, as what, and what the service says of itself."""

from collections.abc import Callable

import pytest
from scopegate_client import Client
from scopegate_client.errors import ConfigurationError, PermissionDenied, SignInFailed, Unauthenticated

from tests.clients.drives import drives
from tests.clients.live import Live
from tests.clients.names import name


@drives(
    *("create_service_account", "get_service_account", "list_service_accounts", "update_service_account"),
    *("create_service_account_credential", "list_service_account_credentials"),
    *("revoke_service_account_credential", "delete_service_account", "get_me"),
)
def test_a_service_account_signs_in_until_its_credential_ends(
    client: Client, open_client: Callable[..., Client]
) -> None:
    ada = client.identities.create(kind="person", user_name=name("ada"), display_name="Ada")
    account = client.service_accounts.create(name=name("ci"), owner_id=ada.id, role="auditor")
    assert client.service_accounts.get(account.id) == account
    assert [found.id for found in client.service_accounts.list(owner_id=ada.id)] == [account.id]
    assert client.service_accounts.update(account.id, name="CI").name == "CI"
    issued = client.service_accounts.create_credential(account.id)
    assert issued.client_secret.reveal() not in repr(issued)
    auditor = open_client(client_id=issued.client_id, client_secret=issued.client_secret)
    assert auditor.me.get().role == "auditor"
    with pytest.raises(PermissionDenied) as denied:
        auditor.groups.create(name=name("mine"))
    assert "groups.write" in denied.value.detail
    [credential] = client.service_accounts.list_credentials(account.id)
    client.service_accounts.revoke_credential(account.id, credential.id)
    with pytest.raises(SignInFailed) as ended:
        auditor.me.get()
    assert ended.value.code == "invalid_client"
    client.service_accounts.delete(account.id)


def test_a_wrong_secret_is_said_so(client: Client, live: Live, open_client: Callable[..., Client]) -> None:
    stranger = open_client(client_id=live.owner_client_id, client_secret="sgc_nothing")
    with pytest.raises(SignInFailed, match=f"Signing in as {live.owner_client_id} was refused") as refused:
        stranger.me.get()
    assert "sgc_nothing" not in str(refused.value)


def test_a_ready_bearer_is_used_as_it_is(live: Live, open_client: Callable[..., Client]) -> None:
    assert open_client(access_token=live.owner.bearer).me.get().role == "owner"
    assert open_client(access_token=lambda: live.owner.bearer).me.get().role == "owner"
    with pytest.raises(Unauthenticated):
        open_client(access_token="sgb_nothing").me.get()


@drives("get_liveness", "get_readiness")
def test_whoever_signs_nobody_in_can_still_ask_how_it_is(
    open_client: Callable[..., Client], live: Live
) -> None:
    stranger = open_client(anonymous=True)
    assert stranger.health.get_liveness()["status"] == "ok"
    assert stranger.health.get_readiness() is not None
    with pytest.raises(Unauthenticated):
        stranger.me.get()
    with pytest.raises(ConfigurationError):
        open_client(anonymous=True, access_token=live.owner.bearer)
