"""A malicious or broken upstream on ``/mcp`` harms no client and does not reveal the upstream credential."""

from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from app.crypto.keys import UnsealingFault
from tests.gateway.messages import LEGACY, MODERN, call, initialize, post, post_modern, request
from tests.gateway.upstreams import Script, Seen, event, scripted, send_events, send_json
from tests.gateway.world import CREDENTIAL, World, running

TOOLS = [{"name": "add", "inputSchema": {"type": "object"}}]
SECRET = CREDENTIAL.decode()


@asynccontextmanager
async def behind(script: Script) -> AsyncIterator[tuple[World, Seen, httpx2.AsyncClient]]:
    async with running() as world, scripted(script) as (url, seen):
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS)
        token = world.store.issue(world.store.grant(resources=True, prompts=True))
        async with world.client(token) as client:
            yield world, seen, client


def result_of(message: dict[str, Any], **result: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": message["id"], "result": {"resultType": "complete", **result}}


WRONG_ANSWERS: dict[str, Any] = {
    "another id": {"jsonrpc": "2.0", "id": 99, "result": {}},
    "the id as a text": {"jsonrpc": "2.0", "id": "1", "result": {}},
    "no id": {"jsonrpc": "2.0", "result": {}},
    "a result and an error": {"jsonrpc": "2.0", "id": 1, "result": {}, "error": {"code": 1, "message": "x"}},
    "a result that is none": {"jsonrpc": "2.0", "id": 1, "result": []},
    "a batch": [{"jsonrpc": "2.0", "id": 1, "result": {}}],
    "no JSON": b"not json",
    "nothing": b"",
    "a number that is none": b'{"jsonrpc":"2.0","id":1,"result":{"content":[],"x":NaN}}',
    "half a character": b'{"jsonrpc":"2.0","id":1,"result":{"content":["\\ud800"]}}',
    "depth": b"[" * 100_000,
}
ASKING = [
    call("calc__add"),
    request("prompts/get", {"name": "calc__p"}),
    request("resources/read", {"uri": "mcp+calc+a:b"}),
    request("completion/complete", {"ref": {"type": "ref/prompt", "name": "calc__p"}, "argument": {}}),
]


async def test_a_wrong_answer_is_502_for_every_request() -> None:
    bad: Any = None

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        # The gateway numbers its own requests; the right id, where the answer means to bear it.
        numbered = {**bad, "id": message["id"]} if isinstance(bad, dict) and bad.get("id") == 1 else bad
        if isinstance(bad, bytes):
            numbered = bad.replace(b'"id":1', b'"id":%d' % message["id"])
        await send_json(send, 200, numbered)

    async with behind(script) as (world, _, client):
        for kind, bad in WRONG_ANSWERS.items():  # noqa: B007  the script reads it
            for message in ASKING:
                world.store.outcomes.clear()
                answer = await post_modern(client, "/mcp", message)
                assert (answer.status_code, answer.json()["id"]) == (502, 1), (kind, message)
                assert list(world.store.outcomes.values()) == ["error"], kind


async def test_statuses_that_must_not_pass_are_502_for_every_request() -> None:
    status = 0

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        headers = {"location": "http://10.0.0.1/", "www-authenticate": "Bearer x", "set-cookie": "a=b"}
        await send_json(send, status, b"" if status in {202, 204} else result_of(message), headers)

    async with behind(script) as (_, seen, client):
        for status in (201, 202, 204, 301, 302, 307, 401, 403, 407, 500, 503):  # noqa: B007
            for message in ASKING:
                seen.requests.clear()
                answer = await post_modern(client, "/mcp", message)
                assert answer.status_code == 502
                assert not {"location", "www-authenticate", "set-cookie"} & set(answer.headers)
                assert len(seen.requests) == 1


async def test_a_second_answer_never_arrives() -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        first, second = (event(result_of(message, content=[word])) for word in ("1st", "2nd"))
        await send_events(send, first + second)

    async with behind(script) as (_, _, client):
        for message in ASKING:
            assert "2nd" not in (await post_modern(client, "/mcp", message)).text


HIDDEN_IN = {
    "content": {"content": [{"type": "text", "text": SECRET}], "messages": [], "contents": []},
    "a key": {"content": [], "messages": [], "contents": [], SECRET: 1},
    "_meta": {"content": [], "messages": [], "contents": [], "_meta": {"x": {"y": SECRET}}},
    "structure": {"structuredContent": {"x": [SECRET]}, "content": [], "messages": [], "contents": []},
    "a header": {"content": [{"type": "text", "text": f"Bearer {SECRET}"}], "messages": [], "contents": []},
}


@pytest.mark.parametrize("streamed", [False, True])
async def test_our_credential_does_not_come_back_for_any_request(streamed: bool) -> None:
    hidden: Any = {}

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        params = {"progressToken": 1, "progress": 1, "message": SECRET}
        note = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        if streamed:
            await send_events(send, event(note), event(result_of(message, **hidden)))
        else:
            await send_json(send, 200, result_of(message, **hidden))

    mirrored = [
        call("add"),
        request("prompts/get", {"name": "p"}),
        request("prompts/list"),
        request("resources/read", {"uri": "a:b"}),
        request("server/discover"),
    ]
    async with behind(script) as (_, _, client):
        for kind, hidden in HIDDEN_IN.items():  # noqa: B007
            for path, messages in (("/mcp", ASKING), ("/mcp/calc", mirrored)):
                for message in messages:
                    answer = await post_modern(client, path, message)
                    assert answer.status_code == 200, answer.text
                    assert SECRET not in answer.text, (kind, path, message)


async def test_a_credential_written_twice_over_does_not_come_back() -> None:
    escaped = "".join(f"\\u{ord(char):04X}" for char in SECRET)

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        twice = f'"result":{{"content":["{escaped}"]}},"result":{{"content":[]}}'
        text = f'{{"jsonrpc":"2.0","id":{message["id"]},{twice}}}'
        await send_json(send, 200, text.encode())

    async with behind(script) as (_, _, client):
        answer = await client.post("/mcp/calc", json=call("add"))
        assert answer.status_code == 502
        assert escaped not in answer.text


def in_base64(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "encode", [str, lambda text: quote(text, safe=""), lambda text: in_base64(f"It is {text}.")]
)
async def test_a_basic_credential_is_known_by_what_follows_its_scheme(encode: Callable[[str], str]) -> None:
    basic = in_base64("ada:upstream/secret")
    leaks = [encode(basic), encode("upstream/secret")]

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        content = [{"type": "text", "text": leak} for leak in leaks]
        await send_json(send, 200, result_of(message, content=content))

    async with running() as world, scripted(script) as (url, _):
        headers = ((b"authorization", f"Basic {basic}".encode()),)
        world.store.register("calc", url, (MODERN, LEGACY), TOOLS, headers)
        async with world.client(world.store.issue(world.store.grant())) as client:
            for path, message in (("/mcp", call("calc__add")), ("/mcp/calc", call("add"))):
                answer = await post_modern(client, path, message)
                assert answer.text.count("[redacted]") == 2
                assert not [leak for leak in leaks if leak in answer.text]


async def test_a_credential_that_does_not_open_ends_the_call_before_it_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        raise AssertionError("nothing is sent")

    async def sealed(*_: object) -> None:
        raise UnsealingFault("key-7")

    async with behind(script) as (world, seen, client):
        monkeypatch.setattr(type(world.store), "target", sealed)
        monkeypatch.setattr(type(world.store), "known_target", lambda *_: None)
        for path, message in (("/mcp", call("calc__add")), ("/mcp/calc", call("add"))):
            answer = await post_modern(client, path, message)
            assert answer.status_code == 502
            assert "credential of this server cannot be decrypted" in answer.text
            assert "key-7" not in answer.text
        assert not seen.requests


ODD = [
    b'{"jsonrpc":"2.0","method":[],"params":{}}',
    b'{"jsonrpc":"2.0","method":{"a":1}}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\\ud800"}}',
    b'{"jsonrpc":"2.0","method":"sampling/createMessage","id":"\\ud800","params":{}}',
    b'{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"status":"working"}}',
    b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":[]}}',
]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/calc"])
@pytest.mark.parametrize("version", [MODERN, LEGACY])
async def test_odd_messages_next_to_the_answer_are_no_fault_of_ours(path: str, version: str) -> None:
    odd = b""

    async def script(message: dict[str, Any], receive: Any, send: Any) -> None:
        if "id" not in message or "method" not in message:
            await send_json(send, 202, b"")
        elif message["method"] == "initialize":
            info = {"name": "x", "version": "1"}
            await send_json(
                send, 200, result_of(message, protocolVersion=LEGACY, capabilities={}, serverInfo=info)
            )
        else:
            await send_events(send, b"data: " + odd + b"\n\n" + event(result_of(message, content=[])))

    async with behind(script) as (_, _, client):
        session = (await post(client, path, initialize())).headers.get("mcp-session-id")
        headers = {} if session is None else {"mcp_session_id": session}
        for odd in ODD:
            message = call("add" if path == "/mcp/calc" else "calc__add")
            if version == MODERN:
                answer = await post_modern(client, path, message)
            else:
                answer = await post(client, path, message, **headers)
            assert answer.status_code in {200, 502}, (odd, answer.text)
