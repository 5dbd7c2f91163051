"""The client and the real service: the stream of a provider, at a transmitter on a real socket."""

from collections.abc import Iterator

import pytest
from scopegate_client import Client
from scopegate_client.errors import Conflict

from tests.adapters.ssf.transmitter import ACCESS_TOKEN, AUDIENCE, Transmitter, transmitter
from tests.clients.drives import drives
from tests.clients.live import Loop
from tests.clients.names import name


@pytest.fixture
def transmitting() -> Iterator[Transmitter]:
    """A transmitter, served from a thread of its own."""
    with Loop() as loop:
        context = transmitter()
        it = loop.run(context.__aenter__())
        yield it
        loop.run(context.__aexit__(None, None, None))


@drives(
    *("get_signal_stream", "set_signal_credential", "set_signal_stream", "verify_signal_stream"),
    "delete_signal_stream",
)
def test_a_stream_is_made_verified_and_ended(client: Client, transmitting: Transmitter) -> None:
    signals = {"delivery": "poll", "issuer": transmitting.issuer, "audiences": [AUDIENCE]}
    issuer = f"https://{name('sso')}.example.com"
    provider = client.identity_providers.create(
        name="SSO", issuer=issuer, audiences=["https://scopegate.example.com"], signals=signals
    )
    with pytest.raises(Conflict) as refused:
        client.identity_providers.set_signal_stream(provider.id)
    assert refused.value.code == "signal_credential_missing"
    stored = client.identity_providers.set_signal_credential(provider.id, access_token=ACCESS_TOKEN)
    made = client.identity_providers.set_signal_stream(provider.id, if_match=stored.revision)
    assert (made.stream_id in transmitting.streams, made.status) == (True, "enabled")
    asked = client.identity_providers.verify_signal_stream(provider.id)
    assert asked.verification_asked_at is not None
    # The service polls by itself; another provider's test never waits for it.
    shown = client.identity_providers.get_signal_stream(provider.id)
    assert shown.stream_id == made.stream_id
    client.identity_providers.delete_signal_stream(provider.id)
    assert transmitting.streams == {}
