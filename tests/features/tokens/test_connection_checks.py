"""A connection check says whether a token works and why not, and reveals no more than the gateway would."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.access.explain import HIDDEN_REASONS, MEANINGS
from app.features.tokens.connection_check import CHECKS_A_MINUTE, CHECKS_AT_ONCE, ConnectionChecks
from app.http.authorization import Caller, Role
from app.lib.ids import TOKEN, format_id, new_id
from app.main import Scopegate
from app.outbound.http import AddressPolicy, OutboundClient
from tests.api import Account, ApiAs
from tests.features.access.recorded import record_call
from tests.features.callers import SignedIn, taken_at_their_word
from tests.features.principals import Json, Sessions, agent, fresh, grant, made, person, plain
from tests.features.tools.upstreams import answer, mcp_server, serving, tool
from tests.open_transactions import none_open

V1 = "/api/v1"


@pytest.fixture
async def app(app: Scopegate) -> AsyncIterator[Scopegate]:
    """The application, with an outbound client that may connect to loopback addresses."""
    client = OutboundClient(AddressPolicy((ip_network("127.0.0.0/8"),)))
    app.api.state.runtime = replace(app.api.state.runtime, outbound=client)
    yield app
    await client.aclose()


@pytest.fixture
async def signed_in(app: Scopegate) -> AsyncIterator[SignedIn]:
    """Make clients for given people, without authentication."""
    async with taken_at_their_word(app) as make:
        yield make


def holder_of(identity: Json) -> Caller:
    """A person who signed in without a role."""
    return Caller("identity", plain(identity), frozenset(), plain(identity))


async def issued(api: httpx2.AsyncClient, holder: Json, **fields: Any) -> tuple[Json, str]:
    """A token and its secret."""
    expires_at = (datetime.now(UTC) + timedelta(days=9)).isoformat()
    body = {
        "identity_id": holder["id"],
        "name": "laptop",
        "scope": {"kind": "grants"},
        "expires_at": expires_at,
    }
    answered = await api.post(f"{V1}/tokens", json=body | fields)
    assert answered.status_code == 201, answered.text
    return answered.json()["token"], answered.json()["secret"]


async def checked(api: httpx2.AsyncClient, token: Json, *, own: bool = False, **body: Any) -> Json:
    answered = await api.post(f"{V1}/{'me/' if own else ''}tokens/{token['id']}/check", json=body)
    assert answered.status_code == 200, answered.text
    shown: Json = answered.json()
    return shown


def step(check: Json, name: str) -> Json:
    """The one step of this name."""
    [found] = [one for one in check["steps"] if one["name"] == name]
    return found  # type: ignore[no-any-return]


def codes(check: Json) -> dict[str, str]:
    return {one["server"] or one["name"]: one["code"] for one in check["steps"]}


async def registered(api: httpx2.AsyncClient, url: str, *, sync: bool = True) -> Json:
    server = await made(api, "servers", {"slug": fresh("notes"), "url": url})
    if sync:
        answered = await api.post(f"{V1}/servers/{server['id']}/sync")
        assert answered.json()["sync"]["state"] == "ok", answered.text
    return server


async def test_a_token_that_works_is_said_to_work_down_to_the_tools_of_its_servers(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada = await person(api, display_name="Ada")
    await grant(api, ada)
    token, secret = await issued(api, ada)
    async with mcp_server(tool("read_note"), tool("write_note")) as upstream:
        server = await registered(api, upstream.url)
        check = await checked(api, token, secret=f"Bearer {secret}\n")
    assert check["state"] == "ok", check
    assert [one["name"] for one in check["steps"]] == ["secret", "token", "identity", "access", "server"]
    assert step(check, "identity")["detail"] == "Ada is active."
    assert step(check, "access")["detail"] == "It reaches 1 server."
    asked = step(check, "server")
    assert (asked["server"], asked["server_id"]) == (server["slug"], server["id"])
    assert asked["detail"] == "It answers. 2 tools can be called."
    assert asked["duration_ms"] >= 0
    events = (
        await api.get(f"{V1}/audit-events", params={"action": "token.check", "token_id": token["id"]})
    ).json()
    [event] = events["items"]
    assert (event["object"]["id"], event["changes"]) == (token["id"], {"servers": 1})
    assert secret not in str(events)


async def test_each_way_that_a_secret_can_be_wrong_is_told_apart(
    api: httpx2.AsyncClient, owner: Account
) -> None:
    ada = await person(api)
    token, first = await issued(api, ada)
    _, others = await issued(api, ada)
    forged = first.replace(first[30], "A" if first[30] != "A" else "B", 1)

    async def code(secret: str) -> str:
        found = step(await checked(api, token, secret=secret), "secret")
        assert secret not in str(found)
        return str(found["code"])

    assert await code(first) == "ok"
    assert await code(f'"{first}"') == "ok"
    assert await code(first[:-1]) == "secret_malformed"
    assert await code(forged) == "secret_malformed"
    assert await code(others) == "secret_of_another_token"
    assert await code(owner.secret) == "secret_of_another_kind"
    rotated = await api.post(f"{V1}/tokens/{token['id']}/rotate", json={"overlap_s": 60})
    assert (await code(first), await code(rotated.json()["secret"])) == ("secret_rotating_out", "ok")
    again = await api.post(f"{V1}/tokens/{token['id']}/rotate", json={"overlap_s": 0})
    assert (await code(first), await code(again.json()["secret"])) == ("secret_rotated", "ok")
    refused = await api.post(f"{V1}/tokens/{token['id']}/check", json={"secret": "x" * 513})
    assert refused.status_code == 422
    assert "xxx" not in refused.text


async def test_what_stops_a_token_is_told_and_no_server_is_asked_then(api: httpx2.AsyncClient) -> None:
    ada = await person(api)
    bot = await agent(api, ada)
    await grant(api, ada)
    await grant(api, bot)
    soon = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
    token, _ = await issued(api, bot, expires_at=soon)
    revoked, _ = await issued(api, ada)
    await made(api, "servers", {"slug": fresh("notes"), "url": "http://127.0.0.1:1/"})
    await api.post(f"{V1}/tokens/{revoked['id']}/revoke", json={"reason": "lost"})
    assert codes(await checked(api, revoked)) == {"token": "token_revoked", "identity": "ok"}
    assert codes(await checked(api, token))["token"] == "expires_soon"
    await api.post(f"{V1}/identities/{ada['id']}/suspend", json={"reason": "away"})
    check = await checked(api, token)
    assert codes(check) == {"token": "expires_soon", "identity": "owner_suspended"}
    assert check["state"] == "fail"
    assert step(check, "identity")["remedy"]


async def test_it_is_told_when_nothing_is_in_reach_and_where_the_token_may_be_used_from(
    api: httpx2.AsyncClient,
) -> None:
    ada = await person(api)
    bare, _ = await issued(api, ada)
    assert codes(await checked(api, bare))["access"] == "nothing_in_reach"
    empty, _ = await issued(api, ada, scope={"kind": "listed", "entries": []})
    assert codes(await checked(api, empty))["access"] == "scope_empty"
    here, _ = await issued(api, ada, ip_allow=["127.0.0.0/8"])
    assert codes(await checked(api, here))["address"] == "ok"
    elsewhere, _ = await issued(api, ada, ip_allow=["192.0.2.0/24"])
    check = await checked(api, elsewhere)
    assert (step(check, "address")["state"], step(check, "address")["code"]) == (
        "warn",
        "address_not_allowed",
    )
    assert step(check, "access")["code"] == "nothing_in_reach", "the address is no reason to say no more"


async def test_each_server_says_for_itself_what_is_wrong_with_it(api: httpx2.AsyncClient) -> None:
    ada = await person(api)
    await grant(api, ada)
    token, _ = await issued(api, ada)
    async with mcp_server(tool("a"), tool("b"), tool("c")) as upstream, serving(answer(401, b"{}")) as closed:
        changing = await registered(api, upstream.url)
        off = await registered(api, upstream.url)
        answered = await api.patch(f"{V1}/servers/{off['id']}", json={"status": "disabled"})
        assert answered.status_code == 200, answered.text
        refusing = await registered(api, f"{closed}/mcp", sync=False)
        gone = await registered(api, "http://127.0.0.1:1/mcp", sync=False)
        upstream.tools = [tool("a"), tool("b", "Another."), tool("d")]
        check = await checked(api, token)
    found = {one["server"]: one for one in check["steps"] if one["name"] == "server"}
    changed = found[changing["slug"]]
    assert (changed["state"], changed["code"]) == ("warn", "tools_wait")
    assert changed["detail"] == (
        "It answers. 1 tool can be called. 1 tool more, new or changed, must be reviewed first."
        " 1 tool in reach is no longer offered."
    )
    assert (found[off["slug"]]["code"], found[refusing["slug"]]["code"]) == ("server_disabled", "http_error")
    assert "401" in found[refusing["slug"]]["detail"]
    assert (found[gone["slug"]]["state"], found[gone["slug"]]["code"]) == ("fail", "unreachable")
    assert "127.0.0.1" not in str([found[gone["slug"]]["remedy"], check["state"]])


async def test_so_many_servers_are_asked_at_once_and_the_others_by_name(api: httpx2.AsyncClient) -> None:
    ada = await person(api)
    token, _ = await issued(api, ada)
    servers = [await registered(api, "http://127.0.0.1:1/", sync=False) for _ in range(10)]
    ids = [one["id"] for one in servers[:9]]
    await grant(api, ada, servers={"kind": "ids", "ids": ids})
    check = await checked(api, token)
    assert len([one for one in check["steps"] if one["name"] == "server"]) == 8
    assert check["unchecked_servers"] == 1
    check = await checked(api, token, server_ids=[servers[0]["id"], servers[9]["id"]])
    assert [one["code"] for one in check["steps"] if one["server_id"] == servers[0]["id"]] == ["unreachable"]
    assert [one["code"] for one in check["steps"] if one["server_id"] == servers[9]["id"]] == ["out_of_reach"]
    assert check["unchecked_servers"] == 8


async def test_no_connection_to_the_database_is_held_while_servers_are_asked(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    ada = await person(api)
    await grant(api, ada)
    token, _ = await issued(api, ada)
    looked = 0

    async def look() -> None:
        nonlocal looked
        await none_open(sessions)
        looked += 1

    async with mcp_server(tool("read_note")) as upstream:
        await registered(api, upstream.url)
        upstream.before_answer = look
        assert (await checked(api, token))["state"] == "ok"
    assert looked == 1


async def test_the_holder_learns_no_more_of_a_refusal_than_the_gateway_said(
    api: httpx2.AsyncClient, signed_in: SignedIn, sessions: Sessions
) -> None:
    me = await person(api)
    mine = signed_in(holder_of(me))
    token, _ = await issued(api, me)
    server = await registered(api, "http://127.0.0.1:1/", sync=False)
    seen = []
    for reason in sorted(HIDDEN_REASONS):
        refused = {"decision": "deny", "reason_code": reason}
        event = await record_call(sessions, token, server, "refund", None, **refused)
        last = step(await checked(mine, token, own=True), "last_denial")
        assert last.pop("event_id") == event
        last.pop("detail")
        seen.append(last)
        denial = step(await checked(api, token), "last_denial")
        assert (denial["code"], denial["state"]) == (reason, "warn")
        assert denial["remedy"] == MEANINGS[reason].remedy
    assert all(one == seen[0] for one in seen)
    assert seen[0]["code"] == "out_of_reach"
    await record_call(sessions, token, server, "refund", None, decision="deny", reason_code="policy_denied")
    assert step(await checked(mine, token, own=True), "last_denial")["code"] == "policy_denied"
    await record_call(sessions, token, server, "refund", None, decision="allow", reason_code="granted")
    since = step(await checked(mine, token, own=True), "last_denial")
    assert (since["state"], since["code"]) == ("ok", "policy_denied")


async def test_a_holder_does_not_learn_where_a_server_is(
    api: httpx2.AsyncClient, signed_in: SignedIn
) -> None:
    me = await person(api)
    await grant(api, me)
    token, _ = await issued(api, me)
    await registered(api, "http://127.0.0.1:1/", sync=False)
    server_step = step(await checked(signed_in(holder_of(me)), token, own=True), "server")
    assert server_step["detail"] == "It cannot be reached."


async def test_only_those_who_hold_a_token_or_answer_for_its_agent_check_it_as_theirs(
    api: httpx2.AsyncClient, signed_in: SignedIn, api_as: ApiAs
) -> None:
    me = await person(api)
    mine = signed_in(holder_of(me))
    token, _ = await issued(api, me)
    of_agent, _ = await issued(api, await agent(api, me))
    of_another, _ = await issued(api, await person(api))
    assert (await checked(mine, token, own=True))["token_id"] == token["id"]
    assert (await checked(mine, of_agent, own=True))["token_id"] == of_agent["id"]
    answers = [
        await mine.post(f"{V1}/me/tokens/{hidden}/check", json={})
        for hidden in (of_another["id"], format_id(TOKEN, new_id()))
    ]
    assert [one.status_code for one in answers] == [404, 404]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert (await mine.post(f"{V1}/tokens/{token['id']}/check", json={})).status_code == 403
    auditor = await api_as(Role.AUDITOR)
    assert (await checked(auditor, of_another))["token_id"] == of_another["id"]
    assert (await api.post(f"{V1}/tokens/{format_id(TOKEN, new_id())}/check", json={})).status_code == 404


async def test_a_caller_has_so_many_checks_a_minute(
    api: httpx2.AsyncClient, app: Scopegate, api_as: ApiAs
) -> None:
    token, _ = await issued(api, await person(api))
    app.api.state.connection_checks = ConnectionChecks(workers=CHECKS_A_MINUTE)
    await checked(api, token)
    refused = await api.post(f"{V1}/tokens/{token['id']}/check", json={})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert 0 < int(refused.headers["retry-after"]) <= 60
    await checked(await api_as(Role.AUDITOR), token)


async def test_a_caller_keeps_few_checks_under_way_however_slow_a_server_is(
    api: httpx2.AsyncClient, app: Scopegate, api_as: ApiAs
) -> None:
    ada = await person(api)
    await grant(api, ada)
    token, _ = await issued(api, ada)
    auditor, go_on, asked = await api_as(Role.AUDITOR), asyncio.Event(), asyncio.Semaphore(0)

    async def wait() -> None:
        asked.release()
        await go_on.wait()

    app.api.state.connection_checks = ConnectionChecks()
    async with mcp_server(tool("read_note")) as upstream:
        await registered(api, upstream.url)
        upstream.before_answer = wait
        async with asyncio.TaskGroup() as group:
            checks = [group.create_task(checked(api, token)) for _ in range(CHECKS_AT_ONCE)]
            checks.append(group.create_task(checked(auditor, token)))
            for _ in checks:
                await asked.acquire()
            refused = await api.post(f"{V1}/tokens/{token['id']}/check", json={})
            go_on.set()
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert {check.result()["state"] for check in checks} == {"ok"}
        await checked(api, token)


def test_every_reason_of_a_decision_has_words_for_whoever_was_refused() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/audit-events.md").read_text(encoding="utf-8")
    table = page.partition("## Decision and reason")[2].partition("\n## ")[0]
    documented = {
        code
        for line in table.splitlines()
        if line.startswith("| `") and "break-glass" not in line and "event token" not in line
        for code in re.findall(r"`([a-z_]+)`", line.split("|")[1])
    }
    assert set(MEANINGS) == documented
    assert all(meaning.remedy for code, meaning in MEANINGS.items() if code in HIDDEN_REASONS)
