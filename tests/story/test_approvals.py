"""Calls that need an approval, from the first call to the one run, with real clients of each era."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError, UrlElicitationRequiredError
from mcp_types import ElicitRequestURLParams, ElicitResult

from app.gateway.wire import exchange
from app.outbound.stdio import VARIABLE
from tests.api import Account
from tests.conformance.fixture_server import fixture_app
from tests.gateway.messages import LEGACY, call, initialize, modern, post_modern
from tests.gateway.test_approvals import take
from tests.gateway.test_real_clients_parts import fill_in
from tests.serving import listener
from tests.story.service import Service, notes_server, serving, whole_service
from tests.supervisor.world import ALLOWED, PLAIN, PYTHON, supervising

POLICY = """
@require_approval("Editors")
@reason("What is written stays.")
forbid (principal, action == Action::"call_tool", resource == Tool::"{slug}/{tool}");
"""
WAYS = [(path, mode) for path in ("/mcp/{slug}", "/mcp") for mode in ("auto", "legacy")]


@dataclass
class Office:
    """The service with a policy that requires approval, and an approver."""

    service: Service
    slug: str
    tool: str
    arguments: dict[str, Any]
    token: str
    shown: list[str] = field(default_factory=list)
    answers: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """The decisions for the next shown approvals."""

    def named(self, path: str) -> str:
        return f"{self.slug}__{self.tool}" if path == "/mcp" else self.tool

    @asynccontextmanager
    async def client(self, path: str, mode: Any, *, leads: bool = True) -> AsyncIterator[Client]:
        async with self.service.connect(path.format(slug=self.slug), self.token) as transport:
            callback: Any = self.lead if leads else None
            async with Client(transport, mode=mode, elicitation_callback=callback) as client:
                yield client

    async def call(self, client: Client, path: str, text: str) -> Any:
        meta: Any = {"io.scopegate/reason": "Sophie asked for it."}
        return await client.call_tool(self.named(path), {**self.arguments, "text": text}, meta=meta)

    async def lead(self, context: Any, params: Any) -> ElicitResult:
        """A user who opens the page, and an approver who decides there."""
        if not isinstance(params, ElicitRequestURLParams):
            return await fill_in(context, params)
        await self.opened(params.url)
        return ElicitResult(action="accept")

    async def opened(self, url: str) -> None:
        self.shown.append(url)
        assert url.startswith(f"{self.service.url}/console/approvals/apr_")
        verdict, body = self.answers.pop(0)
        await self.service.post(f"/approvals/{url.rpartition('/')[2]}/{verdict}", body, 200)

    async def approval(self, url: str) -> dict[str, Any]:
        answer = await self.service.api.get(f"/api/v1/approvals/{url.rpartition('/')[2]}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def office(database_url: str, owner: Account) -> AsyncIterator[Office]:
    with listener() as sock:
        async with (
            whole_service(database_url, owner.bearer) as service,
            serving(notes_server(), sock) as url,
        ):
            await service.register("notes", f"{url}/mcp")
            await service.publish(POLICY.format(slug="notes", tool="write_note"))
            token = (await service.issue())["secret"]
            yield Office(service, "notes", "write_note", {"name": "hello"}, token)


async def walk(office: Office, path: str, mode: str) -> None:
    """Make one call that is approved and runs, and one that is denied."""
    office.answers += [("approve", {}), ("deny", {"reason": "Not this one."})]
    async with office.client(path, mode) as client:
        assert await led(office, client, path, f"{path} {mode}") == "written"
        approval = await office.approval(office.shown[-1])
        assert approval["state"] == "consumed"
        assert approval["reason"] == "Sophie asked for it."
        refused = await led(office, client, path, f"{path} {mode} again")
        assert "Not this one." in refused
        assert (await office.approval(office.shown[-1]))["state"] == "denied"


async def led(office: Office, client: Client, path: str, text: str) -> str:
    """Return the result of a call; a legacy client repeats it after the approval."""
    try:
        answer = await office.call(client, path, text)
    except MCPError as error:
        (elicitation,) = UrlElicitationRequiredError.from_error(error.error).elicitations
        await office.opened(elicitation.url)
        answer = await office.call(client, path, text)
    return str(answer.content[0].text)


async def test_a_client_that_leads_its_user_is_walked_through_an_approval(office: Office) -> None:
    for path, mode in WAYS:
        await walk(office, path, mode)
    assert len(set(office.shown)) == 2 * len(WAYS), "each call has an approval of its own"


@pytest.mark.slow
async def test_a_client_without_url_elicitation_gets_a_text_and_repeats_its_call(office: Office) -> None:
    for path, mode in WAYS:
        async with office.client(path, mode, leads=False) as client:
            result = await office.call(client, path, f"{path} {mode}")
            assert result.is_error
            words, event = result.content[0].text, result.meta["io.scopegate/event"]
            assert "What is written stays." in words
            assert event in words
            office.answers.append(("approve", {}))
            (asked,) = result.meta["io.scopegate/approvals"]
            await office.opened(asked["url"])
            explained = await office.service.api.get(f"/api/v1/audit-events/{event}")
            assert explained.json()["decision"] == "require_approval"
            assert not (await office.call(client, path, f"{path} {mode}")).is_error
            repeated = await office.call(client, path, f"{path} {mode}")
            assert repeated.meta["io.scopegate/approvals"][0]["url"] != asked["url"]


@pytest.mark.slow
async def test_a_legacy_session_is_notified_of_a_decided_approval(office: Office) -> None:
    hello = initialize()
    hello["params"]["capabilities"] = {"elicitation": {"url": {}}}
    headers = {"authorization": f"Bearer {office.token}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(base_url=office.service.url, headers=headers, timeout=60) as client:
        for path in ("/mcp/notes", "/mcp"):
            session = (await client.post(path, json=hello)).headers["mcp-session-id"]
            own = {"mcp-session-id": session, "mcp-protocol-version": LEGACY}
            async with asyncio.timeout(50), client.stream("GET", path, headers=own) as stream:
                message = call(office.named(path), {"name": "hello", "text": path})
                asked = await client.post(path, json=message, headers=own)
                (elicitation,) = asked.json()["error"]["data"]["elicitations"]
                office.answers.append(("approve", {}))
                await office.opened(elicitation["url"])
                lines = [line async for line in take(stream.aiter_lines())]
            (said,) = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
            assert said["method"] == "notifications/elicitation/complete"
            assert said["params"] == {"elicitationId": elicitation["elicitationId"]}


@pytest.mark.slow
async def test_a_wait_ends_with_the_token(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FIRST_COMMENT", 0.05)
    headers = {"authorization": f"Bearer {office.token}", "accept": "application/json, text/event-stream"}
    message = call("write_note", {"name": "hello", "text": "late"})
    async with httpx2.AsyncClient(base_url=office.service.url, headers=headers, timeout=60) as client:
        asked = (await post_modern(client, "/mcp/notes", message)).json()["result"]
        message["params"]["requestState"] = asked["requestState"]
        body, more = modern(message)
        async with (
            asyncio.timeout(50),
            client.stream("POST", "/mcp/notes", json=body, headers=more) as stream,
        ):
            lines = stream.aiter_lines()
            assert await anext(lines) == ": keep-alive"
            (token,) = (await office.service.api.get("/api/v1/tokens")).json()["items"]
            await office.service.post(f"/tokens/{token['id']}/revoke", {"reason": "left"}, 200)
            async with asyncio.timeout(50):
                rest = [line async for line in lines]
    assert "needs a valid Scopegate token" in "".join(rest)


@pytest.mark.slow
async def test_a_server_that_asks_within_an_approved_call_is_answered_once(
    database_url: str, owner: Account
) -> None:
    tool = "test_input_required_result_elicitation"
    async with whole_service(database_url, owner.bearer) as service:
        with listener() as sock:
            async with serving(fixture_app(), sock) as url:
                await service.register("fixture", f"{url}/mcp")
                await service.publish(POLICY.format(slug="fixture", tool=tool))
                token = (await service.issue())["secret"]
                office = Office(service, "fixture", tool, {}, token)
                for path in ("/mcp/fixture", "/mcp"):
                    office.answers.append(("approve", {}))
                    async with office.client(path, "auto") as client:
                        assert "Ada" in await led(office, client, path, path)
                    await replay(office, path)


async def replay(office: Office, path: str) -> None:
    """Answer the server's input request twice in a call that was approved once."""
    message = call(office.named(path), {})
    headers = {"authorization": f"Bearer {office.token}", "accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(base_url=office.service.url, headers=headers, timeout=60) as client:

        async def sent(**params: Any) -> Any:
            message["params"] |= params
            answer = await post_modern(client, path, message)
            assert answer.status_code == 200, answer.text
            return answer.json()["result"]

        asked = await sent()
        office.answers.append(("approve", {}))
        ((_, question),) = asked["inputRequests"].items()
        await office.opened(question["params"]["url"])
        questions = await sent(requestState=asked["requestState"])
        said = {"action": "accept", "content": {"name": "Ada"}}
        answered = {
            "requestState": questions["requestState"],
            "inputResponses": dict.fromkeys(questions["inputRequests"], said),
        }
        assert "Ada" in str((await sent(**answered))["content"])
        again = await sent(**answered)
        assert again["isError"], "no approver would see these answers"
        assert "Start the call again" in again["content"][0]["text"]


@pytest.mark.slow
async def test_a_call_of_a_command_is_approved_as_any_other(
    database_url: str, owner: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with supervising(tmp_path) as world:
        monkeypatch.setenv(VARIABLE, world.address.written()[VARIABLE])
        async with whole_service(database_url, owner.bearer, stdio_allowed_commands=ALLOWED) as service:
            command = {"slug": "plain", "transport": "stdio", "command": PYTHON, "args": [PLAIN]}
            server = await service.post("/servers", command)
            synced = await service.sync(server["id"])
            assert synced["sync"]["state"] == "ok", synced
            await service.publish(POLICY.format(slug="plain", tool="pid"))
            token = (await service.issue())["secret"]
            office = Office(service, "plain", "pid", {}, token)
            for path, mode in WAYS:
                office.answers.append(("approve", {}))
                async with office.client(path, mode) as client:
                    assert (await led(office, client, path, f"{path} {mode}")).isdigit()
