"""Policies see exactly the values that the server receives."""

import json
from typing import Any

import pytest

from app.domain.policy import Act, PolicyInput, PolicyVerdict
from app.lib import strict_json
from tests.gateway.messages import LEGACY, MODERN, call, modern, post_modern, request
from tests.gateway.upstreams import scripted, send_json
from tests.gateway.world import Policies, running

TOOLS = [{"name": "pay", "inputSchema": {"type": "object"}}]

ARGUMENTS = [
    "{}",
    '{"amount":null}',
    '{"amount":true}',
    '{"amount":"5"}',
    '{"amount":5}',
    '{"amount":5.0}',
    '{"amount":-0.0}',
    '{"amount":9007199254740993}',
    '{"amount":' + "9" * 400 + "}",
    '{"amount":{"__entity":{"type":"User","id":"root"}}}',
    '{"amount":{"__extn":{"fn":"ip","arg":"10.0.0.1"}}}',
    '{"Amount":1,"amount":2}',
    '{"amount ":1,"":2,"amount\\t":3}',
    '{"a":[[],{},"\\r\\n=cmd()","<script>"]}',
]


class Asked(Policies):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs: list[PolicyInput] = []

    def evaluate(self, request: PolicyInput) -> PolicyVerdict:
        self.inputs.append(request)
        return super().evaluate(request)


@pytest.mark.parametrize("path", ["/mcp/shop", "/mcp"])
async def test_policy_sees_to_the_last_digit_what_the_server_gets(path: str) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result = {"content": [], "resultType": "complete"}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    async with running() as world, scripted(script) as (url, seen):
        world.store.policies = policies = Asked()
        world.store.register("shop", url, (MODERN, LEGACY), TOOLS)
        async with world.client(world.store.issue(world.store.grant())) as client:
            for arguments in (None, *ARGUMENTS):
                seen.requests.clear()
                policies.inputs.clear()
                body, headers = modern(call("shop__pay" if path == "/mcp" else "pay"))
                text = json.dumps(body)
                if arguments is not None:
                    text = text.replace('"params": {', f'"params": {{"arguments": {arguments}, ')
                headers["content-type"] = "application/json"
                answer = await client.post(path, content=text.encode(), headers=headers)
                assert answer.status_code == 200, answer.text
                ((_, forwarded),) = seen.of("tools/call")
                check(policies.inputs, forwarded["params"], arguments)


@pytest.mark.parametrize(
    ("path", "prompt", "uri"), [("/mcp/shop", "p", "r://{x}"), ("/mcp", "shop__p", "mcp+shop+r://{x}")]
)
async def test_policy_sees_what_a_completion_is_about_as_it_sees_the_use(
    path: str, prompt: str, uri: str
) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        result = {"completion": {"values": []}, "resultType": "complete"}
        await send_json(send, 200, {"jsonrpc": "2.0", "id": message["id"], "result": result})

    references = {
        Act.USE_PROMPTS: ({"type": "ref/prompt", "name": prompt}, {"name": "p"}),
        Act.USE_RESOURCES: ({"type": "ref/resource", "uri": uri}, {"uri": "r://{x}"}),
    }
    async with running() as world, scripted(script) as (url, seen):
        world.store.policies = policies = Asked()
        world.store.register("shop", url, (MODERN, LEGACY), TOOLS)
        token = world.store.issue(world.store.grant(None, prompts=True, resources=True))
        async with world.client(token) as client:
            for act, (reference, known) in references.items():
                policies.inputs.clear()
                params = {"ref": reference, "argument": {"name": "x", "value": "b"}}
                answer = await post_modern(client, path, request("completion/complete", params))
                assert answer.status_code == 200, answer.text
                asked = [each.arguments for each in policies.inputs if each.act is act]
                assert asked, "policy was asked"
                assert all(arguments == known for arguments in asked)
                wrong = {**params, "ref": {**reference, **{key: ["p"] for key in known}}}
                refused = await post_modern(client, path, request("completion/complete", wrong))
                assert refused.json()["error"]["code"] == -32602
        assert len(seen.of("completion/complete")) == len(references)


def check(inputs: list[PolicyInput], params: dict[str, Any], arguments: str | None) -> None:
    """What policy was asked about, what was forwarded, and what the client wrote are one."""
    assert inputs, "policy was asked"
    for asked in inputs:
        if arguments is None:
            assert asked.arguments == {}
            assert "arguments" not in params
        else:
            assert asked.arguments is not None
            known = strict_json.canonical(dict(asked.arguments))  # type: ignore[arg-type]
            assert known == strict_json.canonical(params["arguments"])
            assert known == strict_json.canonical(json.loads(arguments))
