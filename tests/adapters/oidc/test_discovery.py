"""What a provider publishes is fetched guarded and read strictly."""

import json
from collections.abc import AsyncIterator
from ipaddress import ip_network
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from app.adapters.oidc.code_flow import Publications
from app.crypto.jwt import ProviderFault
from app.outbound.http import AddressPolicy, OutboundClient, origin_of
from app.outbound.jwks import usable_keys
from tests.adapters.oidc.publisher import DISCOVERY, Publisher, publisher
from tests.adapters.oidc.tokens import public

KEY = ECKey.generate_key("P-256", {"kid": "first"})
LOOPBACK = AddressPolicy((ip_network("127.0.0.0/8"),))


@pytest.fixture
async def provider() -> AsyncIterator[Publisher]:
    async with publisher() as it:
        it.publish(public(KEY))
        yield it


@pytest.fixture
async def open_client() -> AsyncIterator[OutboundClient]:
    """A client that may go to loopback."""
    async with OutboundClient(LOOPBACK) as client:
        yield client


@pytest.fixture
async def guarded() -> AsyncIterator[OutboundClient]:
    """A client that may go to public addresses alone."""
    async with OutboundClient(AddressPolicy()) as client:
        yield client


async def reason(publications: Publications, issuer: str) -> str:
    """Why a provider's keys could not be had."""
    with pytest.raises(ProviderFault) as fault:
        await publications.keys_of(issuer)
    return fault.value.reason


async def test_the_keys_are_where_the_discovery_document_says(
    provider: Publisher, open_client: OutboundClient
) -> None:
    keys = await Publications(open_client).keys_of(provider.issuer)
    assert [key.kid for key in keys] == ["first"]
    assert provider.asked == [DISCOVERY, "/keys"]


async def test_an_issuer_may_have_a_path_and_end_in_a_slash(
    provider: Publisher, open_client: OutboundClient
) -> None:
    issuer = f"{provider.issuer}/tenant/"
    provider.put(f"/tenant{DISCOVERY}", {"issuer": issuer, "jwks_uri": f"{provider.issuer}/keys"})
    assert len(await Publications(open_client).keys_of(issuer)) == 1


@pytest.mark.parametrize("other", ["https://sso.example.com", "", None, 7, ["x"]])
async def test_a_provider_cannot_speak_for_another(
    provider: Publisher, open_client: OutboundClient, other: object
) -> None:
    provider.publish(public(KEY), issuer=other)
    assert "another issuer" in await reason(Publications(open_client), provider.issuer)
    provider.publish(public(KEY), issuer=provider.issuer + "/")
    assert "another issuer" in await reason(Publications(open_client), provider.issuer)
    assert "/keys" not in provider.asked


async def test_keys_come_over_https_unless_the_provider_is_this_very_machine(
    provider: Publisher, open_client: OutboundClient
) -> None:
    provider.publish(public(KEY), jwks_uri="http://keys.example.com/keys")
    assert "https" in await reason(Publications(open_client), provider.issuer)
    async with publisher() as elsewhere:
        elsewhere.publish(public(KEY))
        provider.publish(public(KEY), jwks_uri=f"{elsewhere.issuer}/keys")
        assert "https" in await reason(Publications(open_client), provider.issuer)
        assert elsewhere.asked == []


@pytest.mark.parametrize(
    "url", [None, 7, "", "keys", "file:///etc/passwd", "https://user:x@example.com/", "https://["]
)
async def test_an_address_of_keys_that_is_none_is_a_fault(
    provider: Publisher, open_client: OutboundClient, url: object
) -> None:
    provider.publish(public(KEY), jwks_uri=url)
    assert await reason(Publications(open_client), provider.issuer)


async def test_a_provider_on_a_private_network_is_not_connected_to(
    provider: Publisher, guarded: OutboundClient
) -> None:
    assert "loopback" in await reason(Publications(guarded), provider.issuer)
    assert provider.asked == []


async def test_the_provider_of_the_environment_may_be_anywhere_and_no_other_with_it(
    provider: Publisher, guarded: OutboundClient, open_client: OutboundClient
) -> None:
    publications = Publications(guarded, open_client, origin_of(provider.issuer))
    assert len(await publications.keys_of(provider.issuer)) == 1
    async with publisher() as elsewhere:
        elsewhere.publish(public(KEY))
        assert "loopback" in await reason(publications, elsewhere.issuer)
        # Nor where it points to: an https address there is guarded like any other.
        provider.publish(public(KEY), jwks_uri=elsewhere.issuer.replace("http:", "https:") + "/keys")
        assert "loopback" in await reason(publications, provider.issuer)
        assert elsewhere.asked == []


async def test_another_provider_does_not_lead_to_where_only_the_environments_may_be(
    provider: Publisher, open_client: OutboundClient
) -> None:
    everywhere = AddressPolicy((ip_network("127.0.0.0/8"), ip_network("::1/128")))
    async with OutboundClient(everywhere) as own:
        inside = "https://[::1]:1"
        publications = Publications(open_client, own, origin_of(inside))
        assert "loopback" not in await reason(publications, inside)
        provider.publish(public(KEY), jwks_uri=f"{inside}/keys")
        assert "loopback" in await reason(publications, provider.issuer)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>", 200),
        (b"[]", 200),
        (b"", 200),
        (b'{"issuer": "a", "issuer": "b"}', 200),
        (b"{}", 500),
        (b"{}", 302),
        (b'{"issuer": "a"}' + b" " * (600 * 1024), 200),
    ],
)
@pytest.mark.parametrize("path", [DISCOVERY, "/keys"])
async def test_an_answer_that_is_no_json_object_is_a_fault(
    provider: Publisher, open_client: OutboundClient, path: str, body: bytes, status: int
) -> None:
    provider.put(path, body, status)
    assert await reason(Publications(open_client), provider.issuer)


async def test_a_fault_says_what_the_provider_did(provider: Publisher, open_client: OutboundClient) -> None:
    provider.put("/keys", {"keys": public(KEY)}, 500)
    assert await reason(Publications(open_client), provider.issuer) == "it answers 500"
    provider.put("/keys", json.dumps({"keys": public(KEY)}).encode() + b" " * (600 * 1024))
    assert await reason(Publications(open_client), provider.issuer) == "the answer is too large"


async def test_a_provider_that_is_away_is_a_fault(provider: Publisher, open_client: OutboundClient) -> None:
    await provider.stop()
    assert await reason(Publications(open_client), provider.issuer) == "the upstream cannot be reached"


@pytest.mark.parametrize("keys", [None, {}, "x", [{}] * 101])
def test_a_key_set_that_is_none_is_a_fault(keys: object) -> None:
    with pytest.raises(ProviderFault):
        usable_keys(keys)


def test_what_is_no_key_of_ours_is_left_out_and_the_others_serve() -> None:
    good = public(KEY)[0]
    secret = dict(OctKey.generate_key(256).as_dict(private=True))
    odd: list[Any] = [
        secret,
        None,
        "x",
        {},
        {"kty": "AKP", "alg": "ML-DSA-44"},
        {"kty": ["RSA"]},
        {"kty": "RSA"},
        {"kty": "RSA", "n": 5, "e": "AQAB"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "n": "é", "e": "AQAB"},
        {"kty": "RSA", "n": "_" * 1400, "e": "AQAB"},
        good | {"x": "AAAA"},
        good | {"crv": "P-999"},
        good | {"crv": ["P-256"]},
        good | {"kid": 7},
        good | {"use": ["sig"], "key_ops": ["verify"]},
        good | {"use": "tls"},
        good | {"key_ops": 7},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
        {"kty": "OKP", "crv": "Ed999", "x": "AA"},
    ]
    assert [key.kid for key in usable_keys([*odd, good])] == ["first"]


@pytest.mark.parametrize(
    "key",
    [RSAKey.generate_key(2048), ECKey.generate_key("P-384"), OKPKey.generate_key("Ed25519")],
    ids=lambda key: key.key_type,
)
def test_a_private_part_that_is_published_by_mistake_is_not_taken(key: RSAKey | ECKey | OKPKey) -> None:
    (taken,) = usable_keys([dict(key.as_dict(private=True))])
    assert not taken.is_private
