"""Calls with an access token that the gateway gets by client credentials from the upstream's provider."""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx2
import pytest
from authlib.common.encoding import to_unicode, urlsafe_b64decode
from mcp import Client
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.outbound import client_tokens
from tests.api import Account
from tests.gateway.messages import call, post_modern
from tests.provider.openid import OTHER_API, OpenIdProvider
from tests.serving import listener
from tests.story.service import Service, notes_server, serving, whole_service
from tests.story.test_main_job import issue

# A provider and a service of its own for each.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SECRET = "client-secret-0123456789"


@dataclass
class Guarded:
    """An MCP server that accepts only the bearer tokens for which ``takes`` is true, and records them."""

    takes: Callable[[str], bool]
    inner: Any = field(default_factory=notes_server)
    heard: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.inner(scope, receive, send)
            return
        bearer = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        self.heard.append(bearer)
        if self.takes(bearer):
            await self.inner(scope, receive, send)
            return
        await answer_json(send, 401, {"error": "invalid_token"})


@dataclass
class TokenEndpoint:
    """Issues ``<client>-token-<number>``; ``status`` makes it fail."""

    status: int = 200
    issued: list[str] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        form = parse_qs((await receive()).get("body", b"").decode())
        if self.status != 200 or form["client_secret"] != [SECRET]:
            await answer_json(send, self.status, {"error": "invalid_client", "secret": SECRET})
            return
        self.issued.append(f"{form['client_id'][0]}-token-{len(self.issued) + 1}")
        token = {"access_token": self.issued[-1], "token_type": "bearer", "expires_in": 3600}
        await answer_json(send, 200, token)


async def answer_json(send: Callable[[Any], Awaitable[None]], status: int, body: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


def credential(url: str, client: str = "shared", **members: Any) -> dict[str, Any]:
    return {
        "kind": "oauth_client_credentials",
        "token_url": f"{url}/token",
        "client_id": client,
        "client_secret": SECRET,
        "auth_method": "client_secret_post",
        **members,
    }


async def put(service: Service, path: str, body: dict[str, Any]) -> None:
    answer = await service.api.put(path, json=body)
    assert answer.status_code == 200, answer.text


async def read_note(service: Service, secret: str, path: str = "/mcp/notes") -> Any:
    name = "read_note" if path != "/mcp" else "notes__read_note"
    async with service.connect(path, secret) as transport, Client(transport) as client:
        return await client.call_tool(name, {"name": "hello"})


async def called(service: Service, secret: str, tool: str, **arguments: str) -> httpx2.Response:
    headers = {"authorization": f"Bearer {secret}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client:
        return await post_modern(client, "/mcp/notes", call(tool, arguments))


async def test_a_real_provider_arms_syncs_and_calls(
    database_url: str, owner: Account, provider: OpenIdProvider
) -> None:
    def for_this_api(bearer: str) -> bool:
        parts = bearer.split(".")
        return (
            len(parts) == 3 and json.loads(to_unicode(urlsafe_b64decode(parts[1].encode())))["aud"] == "wiki"
        )

    upstream = Guarded(for_this_api)
    with listener() as sock:
        async with serving(upstream, sock) as url, whole_service(database_url, owner.bearer) as service:
            server = await service.post("/servers", {"slug": "notes", "url": f"{url}/mcp"})
            client = {"client_id": "some-pipeline", "client_secret": "secret-of-some-pipeline"}
            body = credential(
                provider.issuer, **client, auth_method="client_secret_basic", resource=OTHER_API
            )
            await put(service, f"/api/v1/servers/{server['id']}/credential", body)
            synced = await service.sync(server["id"])
            assert synced["sync"]["state"] == "ok", synced
            _, secret, _ = await issue(service, ["read"])
            for path in ("/mcp/notes", "/mcp"):
                result = await read_note(service, secret, path)
                assert result.content[0].text == "world"
    # One token for the sync and all calls of the worker.
    assert len(set(upstream.heard)) == 1


async def test_each_caller_gets_a_new_token_at_once_and_nothing_of_it_is_kept_readable(
    database_url: str,
    owner: Account,
    sessions: async_sessionmaker[AsyncSession],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint = TokenEndpoint()
    upstream = Guarded(lambda bearer: bearer in endpoint.issued)
    with listener() as sock, listener() as other:
        async with (
            serving(upstream, sock) as url,
            serving(endpoint, other) as issuer,
            whole_service(database_url, owner.bearer) as service,
        ):
            server = await service.post("/servers", {"slug": "notes", "url": f"{url}/mcp"})
            path = f"/api/v1/servers/{server['id']}/credential"
            await put(service, path, credential(issuer))
            await service.sync(server["id"])
            token_id, secret, _ = await issue(service, ["read", "write"])
            identity = (await service.api.get(f"/api/v1/tokens/{token_id}")).json()["identity_id"]

            async def heard() -> str:
                upstream.heard.clear()
                await read_note(service, secret)
                (bearer,) = set(upstream.heard)
                return bearer

            assert await heard() == "shared-token-1"
            await put(service, f"{path}s/{identity}", credential(issuer, "own"))
            assert await heard() == "own-token-2"
            await put(service, f"{path}s/{identity}", credential(issuer, "newer"))
            assert await heard() == "newer-token-3"
            await service.api.delete(f"{path}s/{identity}")
            assert await heard() == "shared-token-1"
            await called(service, secret, "write_note", name="mine", text="I am shared-token-1")
            echoed = await called(service, secret, "read_note", name="mine")
            assert "I am [redacted]" in echoed.text
            endpoint.status = 401
            await put(service, path, credential(issuer, "gone"))
            refused = await called(service, secret, "read_note", name="hello")
            assert refused.status_code == 502
            failed = await service.sync(server["id"])
    assert failed["sync"]["state"] == "error"
    assert "HTTP status 401" in failed["sync"]["error"]
    assert failed["tool_count"] == 3
    kept = caplog.text + refused.text + json.dumps(failed)
    async with sessions() as session:
        for table in ("server_credentials", "servers", "audit_events", "tools"):
            kept += "".join(await session.scalars(text(f"SELECT t::text FROM {table} AS t")))
    assert "HTTP status 401" in caplog.text
    for value in (SECRET, *endpoint.issued):
        assert value not in kept
        assert value.encode().hex() not in kept


@pytest.mark.parametrize("by", ["sync", "call"])
async def test_a_token_that_the_upstream_refuses_is_not_used_again(
    database_url: str, owner: Account, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(client_tokens, "RETRY_S", 0.0)
    endpoint, revoked = TokenEndpoint(), set[str]()
    upstream = Guarded(lambda bearer: bearer in endpoint.issued and bearer not in revoked)
    with listener() as sock, listener() as other:
        async with (
            serving(upstream, sock) as url,
            serving(endpoint, other) as issuer,
            whole_service(database_url, owner.bearer) as service,
        ):
            server = await service.post("/servers", {"slug": "notes", "url": f"{url}/mcp"})
            await put(service, f"/api/v1/servers/{server['id']}/credential", credential(issuer))
            assert (await service.sync(server["id"]))["sync"]["state"] == "ok"
            _, secret, _ = await issue(service, ["read"])
            revoked.update(endpoint.issued)
            if by == "sync":
                assert (await service.sync(server["id"]))["sync"]["state"] == "error"
            else:
                assert (await called(service, secret, "read_note", name="hello")).status_code == 502
            # The refused call is not repeated. The next call gets a new token.
            assert len(endpoint.issued) == 1
            assert (await called(service, secret, "read_note", name="hello")).status_code == 200
    assert endpoint.issued == ["shared-token-1", "shared-token-2"]
