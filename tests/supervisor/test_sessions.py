"""What a session with a command is like, seen from a worker of the gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from app.lib import strict_json
from app.outbound.mcp.exchange import McpUpstreamError, Notification, Result
from app.outbound.stdio import Launch
from tests.supervisor.world import LEGACY, MODERN, PLAIN, PYTHON, World, alive, call, until

INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": "first",
    "method": "initialize",
    "params": {
        "protocolVersion": LEGACY,
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "t", "version": "1"},
    },
}


def call_of(id: int | str, tool: str, **meta: Any) -> dict[str, Any]:
    """A ``tools/call`` as a client sends it."""
    params: dict[str, Any] = {"name": tool, "arguments": {}}
    if meta:
        params["_meta"] = meta
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def events(body: bytes) -> list[Any]:
    """The messages of an event stream."""
    return [strict_json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]


def last_of(body: bytes) -> Any:
    """The answer of a program, in one piece or, where it took its time, at the end of a stream."""
    return events(body)[-1] if b"data: " in body else strict_json.loads(body)


async def next_event(chunks: AsyncIterator[bytes]) -> Any:
    """The next message of a stream, which is kept alive until it comes."""
    async for chunk in chunks:
        for event in events(chunk):
            return event
    raise AssertionError("the stream ended")


async def test_each_legacy_session_is_a_process_of_its_own(world: World) -> None:
    worker = world.worker()
    async with await worker.legacy() as one, await worker.legacy() as two:
        assert await call(one, "pid") != await call(two, "pid")
        counts = [await call(one, "count"), await call(one, "count"), await call(two, "count")]
        assert counts == ["1", "2", "1"]


async def test_a_token_has_one_process_in_the_modern_era_and_another_token_another(world: World) -> None:
    worker = world.worker()
    other = world.sibling(worker)
    mine = {await call(worker.modern(), "pid") for _ in range(2)}
    assert len(mine) == 1
    assert await call(other.modern(), "pid") not in mine


async def test_calls_that_come_before_a_modern_process_runs_wait_for_it(world: World) -> None:
    worker = world.worker()
    pids = await asyncio.gather(*(call(worker.modern(), "pid") for _ in range(5)))
    assert len(set(pids)) == 1


async def test_a_session_ends_with_its_process_when_its_client_says_so(world: World) -> None:
    worker = world.worker()
    session = await worker.legacy()
    pid = int(await call(session, "pid"))
    id = session.session_id
    await session.close()
    await until(lambda: not alive(pid))
    assert (await worker.send("POST", call_of(1, "pid"), id)).status == 404


async def test_a_session_is_of_its_token_and_command_alone(world: World) -> None:
    worker = world.worker()
    session = await worker.legacy()
    stranger = world.sibling(worker)
    assert (await stranger.send("POST", call_of(1, "pid"), session.session_id)).status == 404
    pid = int(await call(session, "pid"))
    changed = world.sibling(worker, token_id=worker.holder.token_id)
    changed.launch = Launch(worker.launch.server_id, worker.launch.command, (*worker.launch.args, "--other"))
    assert (await changed.send("POST", call_of(1, "pid"), session.session_id)).status == 404
    await until(lambda: not alive(pid))


async def test_equal_ids_and_progress_tokens_of_two_requests_get_their_own_answers(world: World) -> None:
    worker = world.worker()
    answers = await asyncio.gather(
        *(
            worker.send("POST", call_of(7, tool, progressToken="p"), version=MODERN)
            for tool in ("progress", "count", "progress")
        )
    )
    bodies = [await answer.read() for answer in answers]
    assert last_of(bodies[1])["id"] == 7
    for body in (bodies[0], bodies[2]):
        *steps, last = events(body)
        assert [step["params"]["progress"] for step in steps] == [1, 2]
        assert {step["params"]["progressToken"] for step in steps} == {"p"}
        assert last["id"] == 7
        assert last["result"]["content"][0]["text"] == "done"


async def test_a_question_of_the_server_reaches_the_client_of_its_call_and_is_answered_once(
    world: World,
) -> None:
    worker = world.worker()
    opened = await worker.send("POST", INITIALIZE)
    assert strict_json.loads(await opened.read())["id"] == "first"  # type: ignore[index,call-overload]
    session = (opened.header(b"mcp-session-id") or b"").decode()
    asking = await worker.send("POST", call_of("c", "ask"), session)
    chunks = asking.iter_chunks()
    question = await next_event(chunks)
    assert question["method"] == "elicitation/create"
    response = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {}}}
    assert (await worker.send("POST", response, session)).status == 202
    assert (await worker.send("POST", response, session)).status == 400
    rest = b"".join([chunk async for chunk in chunks])
    [answer] = events(rest)
    assert answer["id"] == "c"
    assert answer["result"]["content"][0]["text"] == "accept"


async def test_a_client_that_leaves_cancels_in_the_modern_era(world: World) -> None:
    worker = world.worker()
    silent = await worker.send("POST", call_of(1, "silent"), version=MODERN)
    assert silent.status == 200
    silent.close()

    async def cancelled() -> str:
        message = {"jsonrpc": "2.0", "id": 2, "method": "cancelled?", "params": {}}
        answer = last_of(await (await worker.send("POST", message, version=MODERN)).read())
        return str(answer["result"]["content"][0]["text"])

    async with asyncio.timeout(50):
        while await cancelled() != "1":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_legacy_client_cancels_under_the_id_that_it_knows(world: World) -> None:
    worker = world.worker()
    async with await worker.legacy() as session:
        id = session.session_id
        silent = await worker.send("POST", call_of("mine", "silent"), id)
        await worker.send(
            "POST",
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "mine"}},
            id,
        )
        message = {"jsonrpc": "2.0", "id": 2, "method": "cancelled?", "params": {}}
        answer = last_of(await (await worker.send("POST", message, id)).read())
        assert answer["result"]["content"][0]["text"] == "2"
        silent.close()


async def test_a_subscription_is_told_of_under_its_own_id(world: World) -> None:
    worker = world.worker()
    message = {
        "jsonrpc": "2.0",
        "id": "sub",
        "method": "subscriptions/listen",
        "params": {"notifications": {}},
    }
    response = await worker.send("POST", message, version=MODERN)
    notifications: list[Any] = []
    async for chunk in response.iter_chunks():
        notifications += events(chunk)
        if len(notifications) == 2:
            break
    response.close()
    assert [one["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] for one in notifications] == [
        "sub",
        "sub",
    ]


async def test_progress_reaches_a_session_as_a_stream(world: World) -> None:
    worker = world.worker()
    async with await worker.legacy() as session:
        stream = session.stream(
            "tools/call", {"name": "progress", "arguments": {}, "_meta": {"progressToken": 9}}
        )
        items = [item async for item in stream]
    assert [type(item) for item in items] == [Notification, Notification, Result]


async def test_the_environment_is_the_credential_and_what_a_program_needs(world: World) -> None:
    worker = world.worker(variables={"API_KEY": "k-1"})
    async with await worker.legacy() as session:
        found = json.loads(await call(session, "environment"))
    assert set(found) - {"LC_CTYPE"} == {
        "PATH", "HOME", "TMPDIR", "LANG", "STATE_DIRECTORY", "XDG_DATA_HOME", "API_KEY"
    }  # fmt: skip
    assert found["API_KEY"] == "k-1"


@pytest.mark.parametrize(
    "launch",
    [
        Launch(uuid4(), "/bin/sh", ("-c", "echo")),
        Launch(uuid4(), PYTHON, (PLAIN,), (("API_KEY", "x"), ("PYTHONSTARTUP", "/tmp/x"))),
    ],
    ids=["command", "variable"],
)
async def test_a_command_that_is_not_allowed_never_starts(world: World, launch: Launch) -> None:
    worker = world.worker()
    worker.launch = launch
    with pytest.raises(McpUpstreamError, match="not allowed"):
        await worker.legacy()
    with pytest.raises(McpUpstreamError, match="not allowed"):
        await call(worker.modern(), "pid")


async def test_only_who_knows_the_secret_is_served(world: World) -> None:
    worker = world.worker()
    worker.address = type(worker.address)(worker.address.socket, "another")
    assert (await worker.send("POST", INITIALIZE)).status == 403
