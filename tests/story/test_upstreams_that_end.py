"""Audit events of calls whose upstream was killed or stalled, or whose client disconnected."""

import asyncio
import signal
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from tests.api import Account
from tests.gateway.messages import LEGACY, MODERN, call, modern
from tests.gateway.test_failing_upstreams import failing, said
from tests.story.service import Service, whole_service


async def outcome(service: Service, request_id: str) -> str:
    """Wait for the outcome of a call."""
    async with asyncio.timeout(50):
        while True:
            asked = {"request_id": request_id}
            [event] = (await service.api.get("/api/v1/audit-events", params=asked)).json()["items"]
            if event["outcome"] != "in_flight":
                return str(event["outcome"])


@pytest.mark.slow
@pytest.mark.parametrize("version", [LEGACY, MODERN])
async def test_the_audit_log_has_the_outcome_of_calls(
    version: str, database_url: str, owner: Account
) -> None:
    short = timedelta(seconds=2)
    async with (
        failing() as (url, process),
        whole_service(database_url, owner.bearer, limit_call_idle_time=short) as service,
    ):
        await service.register("calc", url)
        token = (await service.issue())["secret"]

        def ask(tool: str, name: str) -> "asyncio.Task[httpx2.Response]":
            message: dict[str, Any] = call(tool, id="c")
            body, headers = (
                (message, {"mcp-protocol-version": LEGACY}) if version == LEGACY else modern(message)
            )
            headers |= {"x-request-id": name, "accept": "application/json, text/event-stream"}
            headers["authorization"] = f"Bearer {token}"
            return asyncio.create_task(client.post(f"{service.url}/mcp/calc", json=body, headers=headers))

        async with httpx2.AsyncClient(timeout=60) as client:
            leaving = ask("stream", "left")
            await said(process, "begun stream")
            leaving.cancel()
            await asyncio.wait([leaving])
            if version == MODERN:
                await said(process, "left")
                assert await outcome(service, "left") == "cancelled"
            stalling = ask("stream", "stalled")
            await said(process, "begun stream")
            process.send_signal(signal.SIGSTOP)
            assert "took too long" in (await stalling).text
            assert await outcome(service, "stalled") == "error"
            if version == LEGACY:
                # The call continued without its client, until the server fell silent.
                assert await outcome(service, "left") == "error"
            process.send_signal(signal.SIGCONT)
            await said(process, "left")
            if version == LEGACY:
                await said(process, "left")
            dying = ask("stream", "killed")
            await said(process, "begun stream")
            process.kill()
            assert "closed the connection" in (await dying).text
            assert await outcome(service, "killed") == "error"
            assert (await ask("stream", "missing")).status_code == 502
            assert await outcome(service, "missing") == "not_forwarded"
