"""An address that may not be reached is refused without a connection to it."""

import socket

import httpx2
import pytest


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1", "2130706433"])
async def test_registering_a_forbidden_address_connects_to_nothing(
    api: httpx2.AsyncClient, host: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://{host}:{listener.getsockname()[1]}/mcp"
        answer = await api.post("/api/v1/servers", json={"slug": "inside", "name": "Inside", "url": url})
        assert answer.status_code in {201, 422}
        if answer.status_code == 201:  # A name is looked up when it is used.
            server = answer.json()["id"]
            synced = await api.post(f"/api/v1/servers/{server}/sync", json={})
            assert synced.json()["sync"]["state"] == "error"
        with pytest.raises(BlockingIOError):
            listener.accept()
