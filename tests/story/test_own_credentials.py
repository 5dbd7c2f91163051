"""The upstream gets the caller's own credential, or else the server's."""

from typing import Any

import pytest
from mcp import Client

from tests.api import Account
from tests.serving import listener
from tests.story.service import notes_server, serving, whole_service
from tests.story.test_main_job import issue

SHARED, OWN = "shared-credential-0123456789", "own-credential-0123456789"


class Listening:
    """An ASGI application that records the received credentials."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.heard: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.heard.add(dict(scope["headers"]).get(b"authorization", b"").decode())
        await self._inner(scope, receive, send)


@pytest.mark.parametrize("path", ["/mcp/notes", "/mcp"])
async def test_calls_carry_the_callers_own_credential_from_the_next_call_on(
    database_url: str, owner: Account, path: str
) -> None:
    upstream = Listening(notes_server())
    prefix = "notes__" if path == "/mcp" else ""
    with listener() as sock:
        async with serving(upstream, sock) as url, whole_service(database_url, owner.bearer) as service:
            server_id = await service.register("notes", f"{url}/mcp")
            credential = f"/api/v1/servers/{server_id}/credential"
            answer = await service.api.put(credential, json={"kind": "bearer", "token": SHARED})
            assert answer.status_code == 200, answer.text
            people = []
            for _ in range(3):
                token_id, secret, _ = await issue(service, ["read"])
                token = (await service.api.get(f"/api/v1/tokens/{token_id}")).json()
                people.append((token["identity_id"], secret))
            (first, with_own), (second, without), (_, with_the_servers) = people

            async def heard(secret: str) -> set[str]:
                upstream.heard.clear()
                async with service.connect(path, secret) as transport, Client(transport) as client:
                    await client.call_tool(f"{prefix}read_note", {"name": "hello"})
                    return set(upstream.heard)

            shared = {f"Bearer {SHARED}"}
            for _, secret in people:
                assert await heard(secret) == shared
            for identity, body in ((first, {"kind": "bearer", "token": OWN}), (second, {"kind": "none"})):
                answer = await service.api.put(f"{credential}s/{identity}", json=body)
                assert answer.status_code == 200, answer.text
            # Call twice, the second time with the cached credential.
            for _ in range(2):
                assert await heard(with_own) == {f"Bearer {OWN}"}
                assert await heard(without) == {""}
                assert await heard(with_the_servers) == shared
            assert (await service.api.delete(f"{credential}s/{first}")).status_code == 204
            assert await heard(with_own) == shared
