"""The list of audit events, newest first: all matching ones, with the outcomes of calls."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.lib.ids import EVENT, IDENTITY, SERVER, SERVICE_ACCOUNT, TOKEN, format_id, new_id
from app.models.audit import AuditClient, AuditEvent, WorkerLease
from app.models.identities import Identity
from app.models.servers import Server
from tests.api import Account, ApiAs

PATH = "/api/v1/audit-events"
Sessions = async_sessionmaker[AsyncSession]
Write = Callable[..., Awaitable[UUID]]


@pytest.fixture
def write(sessions: Sessions) -> Write:
    """Commit one event and return its id."""

    async def one(**columns: Any) -> UUID:
        event = AuditEvent(**{"id": new_id(), "action": "tool.call", "actor_type": "identity", **columns})
        async with sessions() as session:
            session.add(event)
            await session.commit()
        return event.id

    return one


async def ids(api: httpx2.AsyncClient, **params: Any) -> list[str]:
    answer = await api.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def shown(*events: UUID) -> list[str]:
    return [format_id(EVENT, id) for id in events]


async def lease(sessions: Sessions, age_s: int) -> UUID:
    worker = new_id()
    async with sessions() as session:
        session.add(WorkerLease(worker_id=worker, renewed_at=datetime.now(UTC) - timedelta(seconds=age_s)))
        await session.commit()
    return worker


async def test_events_come_newest_first_in_pages_without_gap_or_repeat(
    api: httpx2.AsyncClient, write: Write
) -> None:
    written = [await write() for _ in range(7)]
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = (await api.get(PATH, params=params)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == shown(*reversed(written))


async def test_a_change_is_shown_with_actor_object_and_changes(
    api: httpx2.AsyncClient, owner: Account
) -> None:
    body = {"name": "pipeline", "owner_id": format_id(IDENTITY, owner.owner_id), "role": "issuer"}
    account = (await api.post("/api/v1/service-accounts", json=body)).json()
    (event,) = (await api.get(PATH)).json()["items"]
    assert event["action"] == "service_account.create"
    assert event["outcome"] == "success"
    assert event["actor"] == {
        "type": "service_account",
        "id": format_id(SERVICE_ACCOUNT, owner.id),
        "name": "owner for a test",
    }
    assert event["on_behalf_of"] == format_id(IDENTITY, owner.owner_id)
    assert event["object"] == {"type": "service_account", "id": account["id"]}
    assert event["changes"]["role"] == {"from": None, "to": "issuer"}
    assert event["request_id"]
    one = await api.get(f"{PATH}/{event['id']}")
    assert one.json() == event


async def test_a_call_is_shown_with_names_server_client_and_outcome(
    api: httpx2.AsyncClient, owner: Account, sessions: Sessions, write: Write
) -> None:
    server = Server(slug="git", name="Git")
    client = AuditClient(id=new_id(), ip="10.0.0.7", user_agent="agent/1", name="inspector", version="2")
    async with sessions() as session:
        session.add_all([server, client])
        await session.commit()
    token = new_id()
    call = await write(
        decision="allow", reason_code="granted", actor_id=owner.owner_id, token_id=token, server_id=server.id,
        tool="git_log", client_id=client.id, arguments_digest=b"\x01" * 32, worker_id=new_id(),
    )  # fmt: skip
    await write(action="tool.result", actor_type="gateway", call_id=call, outcome="success", duration_ms=12)
    (event,) = (await api.get(PATH)).json()["items"]
    assert event["id"] == format_id(EVENT, call)
    assert event["actor"] == {
        "type": "identity",
        "id": format_id(IDENTITY, owner.owner_id),
        "name": "A person",
    }
    assert event["server"] == {"id": format_id(SERVER, server.id), "slug": "git"}
    assert event["client"] == {"name": "inspector", "version": "2", "ip": "10.0.0.7", "user_agent": "agent/1"}
    assert (event["outcome"], event["duration_ms"]) == ("success", 12)
    assert event["token_id"] == format_id(TOKEN, token)
    assert event["arguments_digest"] == "01" * 32


@pytest.mark.parametrize(
    ("decision", "lease_age_s", "result", "outcome"),
    [
        ("allow", 1, None, "in_flight"),
        ("allow", 31, None, "unknown"),
        ("allow", None, None, "unknown"),
        ("allow", 31, "success", "success"),
        ("allow", 1, "cancelled", "cancelled"),
        ("deny", 1, None, "denied"),
        ("require_approval", 1, None, "not_forwarded"),
    ],
)
async def test_an_outcome_is_what_was_written_or_what_the_workers_lease_says(
    api: httpx2.AsyncClient,
    sessions: Sessions,
    write: Write,
    decision: str,
    lease_age_s: int | None,
    result: str | None,
    outcome: str,
) -> None:
    worker = new_id() if lease_age_s is None else await lease(sessions, lease_age_s)
    call = await write(decision=decision, worker_id=worker)
    if result is not None:
        await write(action="tool.result", actor_type="gateway", call_id=call, outcome=result)
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert (await api.get(f"{PATH}/{format_id(EVENT, call)}")).json()["outcome"] == outcome
    assert await ids(api, outcome=outcome, since=since) == shown(call)
    others = {"in_flight", "unknown", "success", "error", "denied", "cancelled", "not_forwarded"} - {outcome}
    assert await ids(api, outcome=sorted(others), since=since) == []


async def test_a_true_outcome_that_comes_late_wins(api: httpx2.AsyncClient, write: Write) -> None:
    call = await write(decision="allow", worker_id=new_id())
    for outcome in ("not_forwarded", "success"):
        await write(action="tool.result", actor_type="gateway", call_id=call, outcome=outcome)
    assert [item["outcome"] for item in (await api.get(PATH)).json()["items"]] == ["success"]


async def test_each_filter_finds_its_own_event_alone(
    api: httpx2.AsyncClient, sessions: Sessions, write: Write
) -> None:
    client = AuditClient(id=new_id(), ip="10.0.0.7", name="inspector", version="2.1", user_agent="inspect/2")
    ada, git = Identity(kind="person", user_name="ada", display_name="Ada L."), Server(slug="git", name="Git")
    async with sessions() as session:
        session.add_all([client, ada, git])
        await session.commit()
    await write(decision="allow")
    person, token, server, target, named = new_id(), new_id(), new_id(), new_id(), new_id()
    columns: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"action": "token.issue"}, {"action": "token.issue"}),
        ({"decision": "deny"}, {"decision": "deny"}),
        ({"reason_code": "no_grant"}, {"reason_code": "no_grant"}),
        ({"actor_id": person}, {"actor_id": format_id(IDENTITY, person)}),
        ({"actor_type": "administrator"}, {"actor_type": "administrator"}),
        ({"on_behalf_of": person}, {"on_behalf_of": format_id(IDENTITY, person)}),
        ({"token_id": token}, {"token_id": format_id(TOKEN, token)}),
        ({"server_id": server}, {"server_id": format_id(SERVER, server)}),
        ({"tool": "echo"}, {"tool": "echo"}),
        ({"object_type": "grant", "object_id": target}, {"object_id": format_id("grant", target)}),
        ({"client_id": client.id}, {"client_ip": "10.0.0.7"}),
        ({"client_id": client.id, "tool": "x"}, {"client_name": "inspector", "tool": "x"}),
        ({"client_id": client.id, "tool": "y"}, {"client_version": "2.1", "tool": "y"}),
        ({"client_id": client.id, "tool": "z"}, {"client_user_agent": ["inspect/2", "other"], "tool": "z"}),
        ({"id": named}, {"id": format_id(EVENT, named)}),
        ({"actor_id": ada.id}, {"actor_name": "ADA l."}),
        ({"server_id": git.id}, {"server_slug": ["git", "svn"]}),
        ({"changes": {"labels": {"from": {}, "to": {"a": "b"}}}}, {"changes": ["labels", "url"]}),
        ({"duration_ms": 70}, {"duration_ms_min": 70, "duration_ms_max": 70}),
        ({"duration_ms": 71}, {"duration_ms_min": 71}),
        ({"duration_ms": 0}, {"duration_ms_max": 69}),
        ({"arguments_digest": b"\x02" * 32}, {"arguments_digest": "02" * 32}),
        ({"request_id": "r-1"}, {"request_id": "r-1"}),
        ({"trace_id": "t-1"}, {"trace_id": "t-1"}),
    ]
    since = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    for row, params in columns:
        event = await write(**row)
        found = await ids(api, **params, since=since)
        assert found[0] == format_id(EVENT, event), params
        assert len(found) == 1, params


async def test_the_id_that_a_request_was_given_finds_its_events(
    api: httpx2.AsyncClient, write: Write
) -> None:
    first = await write()
    made = f"req_{first.hex}"
    second = await write(request_id=made)
    await write(request_id=made[:-1])
    assert await ids(api, request_id=made) == shown(second, first)
    assert await ids(api, request_id=["other", made]) == shown(second, first)


async def test_text_finds_events_by_the_names_of_today(
    api: httpx2.AsyncClient, owner: Account, sessions: Sessions, write: Write
) -> None:
    async with sessions() as session:
        await session.execute(
            text("UPDATE identities SET display_name = 'Ada 50%' WHERE id = :id"), {"id": owner.owner_id}
        )
        await session.commit()
    by = await write(actor_id=owner.owner_id)
    behalf = await write(on_behalf_of=owner.owner_id)
    await write()
    since = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert await ids(api, q="ada 50%", since=since) == shown(behalf, by)
    assert await ids(api, q="nobody", since=since) == []
    assert await ids(api, q="a%0", since=since) == []


async def test_how_long_a_call_took_is_told_by_its_result(api: httpx2.AsyncClient, write: Write) -> None:
    calls = [await write(decision="allow", worker_id=new_id()) for _ in range(2)]
    for call, took in zip(calls, (40, 900), strict=True):
        await write(
            action="tool.result", actor_type="gateway", call_id=call, outcome="success", duration_ms=took
        )
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    assert await ids(api, duration_ms_min=41, since=since) == shown(calls[1])
    assert await ids(api, duration_ms_max=40, since=since) == shown(calls[0])
    assert await ids(api, duration_ms_min=40, duration_ms_max=900, since=since) == shown(*reversed(calls))


async def test_since_and_until_bound_the_list(api: httpx2.AsyncClient, write: Write) -> None:
    now = datetime.now(UTC)
    inside = await write(time=now)
    await write(time=now + timedelta(days=20))
    assert await ids(api, until=(now + timedelta(days=10)).isoformat()) == shown(inside)
    assert await ids(
        api, since=now.isoformat(), until=(now + timedelta(microseconds=1)).isoformat()
    ) == shown(inside)


WIDE = [
    {"action": "token.issue"},
    {"decision": "allow"},
    {"q": "ada"},
    {"tool": "echo", "since": "2026-01-01T00:00:00Z", "until": "2026-02-02T00:00:00Z"},
    {"trace_id": "t", "until": "2026-02-02T00:00:00Z"},
    {"client_ip": "10.0.0.7", "since": "2020-01-01T00:00:00Z"},
    {"client_version": "1"},
    {"client_user_agent": "a"},
    {"changes": "labels"},
    {"duration_ms_min": 0, "since": "2020-01-01T00:00:00Z"},
]
NARROW = [
    {"token_id": format_id(TOKEN, new_id()), "action": "token.issue"},
    {"decision": ["deny", "require_approval"], "tool": "echo"},
    {"request_id": "r"},
    {"id": format_id(EVENT, new_id()), "trace_id": "t"},
    {"actor_name": "Ada", "changes": "labels"},
    {"server_slug": "git", "client_version": "1"},
    {"tool": "echo", "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z"},
    {"since": "2020-01-01T00:00:00Z"},
]


@pytest.mark.parametrize("params", WIDE)
async def test_a_search_that_no_index_serves_needs_a_range(
    api: httpx2.AsyncClient, params: dict[str, Any]
) -> None:
    answer = await api.get(PATH, params=params)
    assert (answer.status_code, answer.json()["code"]) == (400, "range_too_wide")


@pytest.mark.parametrize("params", NARROW)
async def test_a_search_within_an_index_or_a_range_is_served(
    api: httpx2.AsyncClient, params: dict[str, Any]
) -> None:
    assert (await api.get(PATH, params=params)).status_code == 200


BAD: list[tuple[dict[str, Any], int]] = [
    ({"outcome": "success", "token_id": format_id(TOKEN, new_id())}, 400),
    ({"duration_ms_min": 5}, 400),
    ({"duration_ms_max": 5, "token_id": format_id(TOKEN, new_id())}, 400),
    ({"duration_ms_max": -1, "since": "2026-01-01T00:00:00Z"}, 422),
    ({"duration_ms_min": 2**31, "since": "2026-01-01T00:00:00Z"}, 422),
    ({"id": format_id(TOKEN, new_id())}, 422),
    ({"colour": "red"}, 422),
    ({"limit": 201}, 422),
    ({"limit": 0}, 422),
    ({"token_id": format_id(SERVER, new_id())}, 422),
    ({"actor_id": format_id(TOKEN, new_id())}, 422),
    ({"object_id": "x"}, 422),
    ({"decision": "maybe"}, 422),
    ({"tool": "a\x00b"}, 422),
    ({"q": "\x00"}, 422),
    ({"arguments_digest": "zz"}, 422),
    ({"since": "yesterday"}, 422),
    ({"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 422),
    ({"cursor": "x", "after": "y"}, 422),
    ({"cursor": "no-cursor"}, 400),
    ({"after": "no-cursor"}, 400),
    ({"cursor": "é"}, 400),
]


@pytest.mark.parametrize(("params", "status"), BAD)
async def test_bad_parameters_are_refused(
    api: httpx2.AsyncClient, params: dict[str, Any], status: int
) -> None:
    answer = await api.get(PATH, params=params)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_cursor_of_other_filters_is_a_mismatch(api: httpx2.AsyncClient, write: Write) -> None:
    for _ in range(2):
        await write(decision="deny")
    cursor = (await api.get(PATH, params={"limit": 1})).json()["next_cursor"]
    answer = await api.get(PATH, params={"limit": 1, "cursor": cursor, "decision": "deny"})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_mismatch")


@pytest.mark.parametrize(
    ("role", "status"),
    [("auditor", 200), ("admin", 200), ("issuer", 403), ("approver", 403), ("provisioner", 403)],
)
async def test_only_those_who_may_audit_read_it(api_as: ApiAs, role: str, status: int) -> None:
    assert (await (await api_as(role)).get(PATH)).status_code == status


async def test_an_unknown_event_is_not_found_and_none_can_be_written(api: httpx2.AsyncClient) -> None:
    one = f"{PATH}/{format_id(EVENT, new_id())}"
    assert (await api.get(one)).status_code == 404
    assert (await api.get(f"{PATH}/{format_id(TOKEN, new_id())}")).status_code == 422
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in (PATH, one):
            assert (await api.request(method, path, json={})).status_code == 405
