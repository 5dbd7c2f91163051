"""A server that is the gateway itself is refused, under any name."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from tests.api import Account
from tests.gateway.messages import initialize, modern
from tests.story.service import whole_service


@asynccontextmanager
async def forwarded(port: int) -> AsyncIterator[int]:
    """Forward another port to this one."""
    lines: list[asyncio.Task[None]] = []
    ends: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        ends.extend((writer, back))
        lines.extend(asyncio.create_task(one) for one in (pump(reader, back), pump(there, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for end in ends:
            end.transport.abort()
        await asyncio.gather(*lines, return_exceptions=True)
        await asyncio.sleep(0)  # Aborted connections close in the loop's next turn.


async def test_a_server_that_is_the_gateway_itself_is_refused_when_registered_and_when_used(
    database_url: str, owner: Account
) -> None:
    async with whole_service(database_url, owner.bearer) as service:
        port = httpx2.URL(service.url).port
        assert port is not None
        for url in (f"{service.url}/mcp", f"http://localhost:{port}/mcp/other", f"http://127.0.0.2:{port}/"):
            refused = await service.post("/servers", {"slug": "self", "name": "self", "url": url}, 422)
            assert (refused["code"], refused["errors"][0]["pointer"]) == ("forbidden_url", "/url")
            assert "gateway's own address" in refused["detail"]
        async with forwarded(port) as alias:
            url = f"http://127.0.0.1:{alias}/mcp"
            server = await service.post("/servers", {"slug": "self", "name": "self", "url": url})
            moved = await service.api.patch(
                f"/api/v1/servers/{server['id']}",
                json={"url": f"{service.url}/mcp"},
                headers={"If-Match": '"1"'},
            )
            assert (moved.status_code, moved.json()["code"]) == (422, "forbidden_url")
            synced = await service.post(f"/servers/{server['id']}/sync", {}, 200)
            assert synced["sync"]["state"] == "error"
            assert "it is this gateway itself" in synced["sync"]["error"]
            token = (await service.issue())["secret"]
            headers = {"authorization": f"Bearer {token}", "accept": "application/json, text/event-stream"}
            async with httpx2.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client:
                used = await client.post("/mcp/self", json=initialize())
                assert (used.status_code, "gateway itself" in used.text) == (502, True)
                body, modern_headers = modern({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
                listed = await client.post("/mcp", json=body, headers=modern_headers)
                assert listed.status_code == 200
                assert "gateway itself" in listed.text
