"""Every answer contains the id of its request, which the audit log records."""

import pytest

from app.admission.rows import Refusal, Refusals, Row, Values
from app.admission.store import DecidedCall
from tests.gateway.messages import call, initialize, post, post_modern, request
from tests.gateway.upstreams import reference
from tests.gateway.world import running

NAME = "x-request-id"


def made(recorded: DecidedCall) -> str:
    return f"req_{recorded.id.hex}"


async def test_every_answer_has_the_request_id_of_the_audit_log() -> None:
    async with running(body_limit=4096) as world, reference() as (url, _):
        token = world.store.issue(world.store.grant(await world.register("calc", url), "add", "steps"))
        store = world.store
        async with world.client(token) as client, world.client(None) as stranger:
            store.calls.clear()
            for asking in (
                post_modern(client, "/mcp/calc", call("add", {"a": 1, "b": 2})),
                post_modern(client, "/mcp/calc", call("steps", {})),
                post_modern(client, "/mcp/calc", call("hidden", {})),
                post_modern(client, "/mcp/none", call("add", {})),
                post_modern(client, "/mcp", call("calc__add", {"a": 1, "b": 2})),
                post(client, "/mcp", initialize()),
            ):
                answer = await asking
                (recorded,) = store.calls
                assert answer.headers[NAME] == made(recorded), answer.text
                assert recorded.request_id is None, "the row's own id says it"
                store.calls.clear()
            several = await post_modern(client, "/mcp", request("tools/list"))
            assert [several.headers[NAME]] * 2 == [made(store.calls[0]), store.calls[1].request_id]
            for other in (stranger, client):
                answer = await other.get("/mcp/calc", headers={"authorization": "Bearer x"})
                assert (answer.status_code, [answer.headers[NAME]]) == (401, store.counted)
                store.counted.clear()
            for answer in (
                await client.post("/mcp", content=b"{", headers={"content-type": "application/json"}),
                await client.put("/mcp"),
            ):
                assert answer.headers[NAME].startswith("req_")


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("trip-1:a.b_C", True),
        ("a b", False),
        ("x" * 129, False),
        ("req_01936d5e7c0070008000000000000000", False),
        ("REQ_1", False),
    ],
)
async def test_a_client_may_name_its_request(asked: str, kept: bool) -> None:
    async with running() as world:
        async with world.client(world.store.issue(), **{NAME: asked}) as client:
            answer = await post(client, "/mcp", initialize())
        (recorded,) = world.store.calls
        assert (answer.headers[NAME] == asked) is kept
        assert recorded.request_id == (asked if kept else None)


def test_counted_requests_keep_the_id_of_the_first() -> None:
    written: list[Row] = []
    refusals = Refusals(written.append)
    place = Values._fields.index("request_id")
    for name in ("first", "second"):
        refusals.count(Refusal("token_revoked", None), None, name)
    refusals.flush()
    refusals.count(Refusal("token_revoked", None), None, "third")
    refusals.flush()
    assert [row.cells[place] for row in written] == ['"first"', '"third"']
