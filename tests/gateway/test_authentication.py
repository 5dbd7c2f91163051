"""Authentication at the gateway: every invalid token gets the same answer."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from time import time
from typing import Any
from uuid import uuid4

import pytest

from app.admission.store import Client, TooManyLookups
from app.domain.objects import IdentityStatus
from app.domain.token_format import API_BEARER, SCOPED_TOKEN, TOKEN_NEEDED, format_credential
from app.gateway.authenticator import Authenticator
from app.gateway.wire.exchange import Alarms, Exchange, behind_proxies, client_at, parse_address
from app.http.service_address import ServiceAddress
from tests.gateway.messages import LEGACY, call, initialize, post
from tests.gateway.world import Store, World, running


async def refusal(world: World, path: str, **headers: str) -> tuple[int, str, bytes]:
    async with world.client(None) as client:
        sent = {name: value.encode() for name, value in headers.items()}
        answer = await client.post(path, json=initialize(), headers=sent)  # type: ignore[arg-type]
        return answer.status_code, answer.headers.get("www-authenticate", ""), answer.content


async def test_every_token_that_opens_nothing_gets_one_answer_whether_the_slug_exists_or_not() -> None:
    async with running() as world:
        world.store.register("calc", "http://127.0.0.1:9/mcp", (LEGACY,), [])
        token = world.store.issue(world.store.grant())
        dead = world.store.issue(world.store.grant())
        world.store.change(dead, revoked=True)
        expired = world.store.issue(world.store.grant(), expires_at=time() - 1)
        elsewhere = world.store.issue(world.store.grant())
        world.store.change(elsewhere, ip_allow=(ip_network("10.0.0.0/8"),))
        wrong_secret = token[:26] + dead[26:]
        credentials = [
            "Bearer",
            "Bearer x",
            "Basic " + token,
            token,
            "Bearer sgt_ünknown",
            "Bearer " + token[:-1],
            "Bearer " + format_credential(API_BEARER, world.store.servers["calc"].id, bytes(32)),
            "Bearer " + wrong_secret,
            "Bearer " + dead,
            "Bearer " + expired,
            "Bearer " + elsewhere,
        ]
        answers = {await refusal(world, "/mcp/calc", authorization=value) for value in credentials}
        ((status, challenge, body),) = answers
        assert status == 401
        assert challenge == (
            f'Bearer realm="scopegate", error="invalid_token", error_description="{TOKEN_NEEDED}"'
        )
        assert body.startswith(b'{"jsonrpc":"2.0","id":null,"error":{"code":')
        absent = await refusal(world, "/mcp/absent", authorization="Bearer x")
        assert absent == (401, challenge, body)
        assert sorted(set(world.store.refused)) == ["address_not_allowed", "token_expired", "token_revoked"]


async def test_without_a_token_no_error_is_named() -> None:
    async with running() as world:
        status, challenge, _ = await refusal(world, "/mcp/calc")
        assert (status, challenge) == (401, 'Bearer realm="scopegate"')
        token = world.store.issue()
        status, challenge, _ = await refusal(
            world, f"/mcp/calc?access_token={token}", cookie=f"token={token}"
        )
        assert status == 401
        assert "error=" not in challenge


@pytest.mark.parametrize("sent", ["nothing", "malformed", "unknown", "another secret"])
async def test_a_request_without_a_known_token_is_counted_once(sent: str) -> None:
    async with running() as world:
        token = world.store.issue()
        [known] = world.store.tokens
        tokens = {
            "nothing": None,
            "malformed": f"{token}x",
            "unknown": format_credential(SCOPED_TOKEN, uuid4(), bytes(32)),
            "another secret": format_credential(SCOPED_TOKEN, known, bytes(32)),
        }
        async with world.client(tokens[sent]) as client:
            assert (await client.post("/mcp/calc", json=initialize())).status_code == 401
        assert len(world.store.unknown) == 1


async def test_two_authorization_headers_are_refused() -> None:
    async with running() as world, world.client(world.store.issue()) as client:
        headers = [("authorization", client.headers["authorization"])] * 2
        del client.headers["authorization"]
        answer = await client.post("/mcp/calc", json=initialize(), headers=headers)
        assert answer.status_code == 400


async def test_too_many_unknown_tokens_have_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def exhausted(*_: object) -> None:
        raise TooManyLookups

    async with running() as world, world.client(world.store.issue()) as client:
        monkeypatch.setattr(type(world.store), "resolve", exhausted)
        answer = await post(client, "/mcp/calc", initialize())
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "1"


async def test_a_reactivated_identity_works_at_a_worker_with_outdated_data() -> None:
    async with running() as world:
        token = world.store.issue()
        async with world.client(token) as client:
            (_, stored) = next(iter(world.store.tokens.values()))
            world.store.change(token, identity=replace(stored.identity, status=IdentityStatus.SUSPENDED))
            assert (await post(client, "/mcp/calc", call("add"))).status_code == 401
            world.store.change(token, identity=stored.identity)
            assert (await post(client, "/mcp/calc", call("add"))).status_code == 404


async def test_the_address_comes_from_trusted_proxies_alone() -> None:
    for proxies, allowed in ((), False), ((ip_network("127.0.0.1"),), True):
        async with running(trusted_proxies=proxies) as world:
            token = world.store.issue()
            world.store.change(token, ip_allow=(ip_network("10.1.0.0/16"),))
            async with world.client(token) as client:
                answer = await post(client, "/mcp/x", call("add"), x_forwarded_for="10.1.2.3")
                assert answer.status_code == (404 if allowed else 401)
                answer = await post(client, "/mcp/x", call("add"), x_forwarded_for="10.1.2.3, 8.8.8.8")
                assert answer.status_code == 401
                for forged in ("10.1.2.3", "10.1.2.3, 127.0.0.1"):
                    lines = [("x-forwarded-for", forged), ("x-forwarded-for", "8.8.8.8")]
                    lines.append(("x-forwarded-for", "127.0.0.1"))
                    answer = await client.post("/mcp/x", json=call("add"), headers=lines)
                    assert answer.status_code == 401


def test_ipv4_addresses_are_normalized() -> None:
    address, proxy = ip_address("10.1.2.3"), (ip_network("127.0.0.0/8"),)
    assert client_at("::ffff:10.1.2.3", None) == (address, Client("10.1.2.3"))
    assert behind_proxies(parse_address("::ffff:127.0.0.1"), b"::ffff:10.1.2.3", proxy) == address
    assert parse_address("2001:db8::ffff:a01:203") == ip_address("2001:db8::ffff:a01:203")


async def test_a_padded_authorization_header_works_but_is_not_cached() -> None:
    store = Store()
    token = store.issue().encode()
    authenticator = Authenticator(store, ServiceAddress("http://127.0.0.1:8080"))
    for blanks, kept in ((1_000, 0), (0, 1), (60_000, 1)):
        headers = [(b"authorization", b"Bearer " + b" " * blanks + token)]
        scope = {"method": "POST", "path": "/mcp", "headers": headers}
        exchange = Exchange(scope, unused, unused, Alarms(), ())
        assert (await authenticator.authenticate(exchange)).token.id in store.versions
        assert len(authenticator._parsed) == kept


async def unused(*_: object) -> Any:
    raise AssertionError("nothing is read or sent")


async def test_store_down_is_503_and_nothing_is_allowed() -> None:
    async with running() as world:
        world.store.register("calc", "http://127.0.0.1:9/mcp", (LEGACY,), [{"name": "add"}])
        async with world.client(world.store.issue(world.store.grant())) as client:
            world.store.down = True
            answer = await post(client, "/mcp/calc", call("add", {}, 7))
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["code"] == -32603
