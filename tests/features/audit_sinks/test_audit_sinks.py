"""``/audit-sinks``: permissions, visible fields, and the handling of credentials."""

import asyncio
from asyncio import BrokenBarrierError
from contextlib import suppress
from typing import Any

import asyncpg
import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.crypto.keys import Sealer
from app.db.engine import plain_url
from app.features.audit_sinks import service
from app.features.audit_sinks.queue import record_missed
from app.features.audit_sinks.schemas import AuditSinkCreate
from app.features.audit_sinks.service import open_credential, put_credential, reseal_credentials
from app.http.authorization import ROLE_PERMISSIONS, Permission
from app.lib.ids import new_id, parse_id
from app.models.audit import AuditEvent, AuditSink
from tests.api import KEY, ApiAs
from tests.settling import settled

Sessions = async_sessionmaker[AsyncSession]
PATH = "/api/v1/audit-sinks"
# Never resolves (RFC 6761).
URL = "https://siem.invalid/T0/secret-path?key=hidden"
SECRET = "receivers-own-secret-token"
NEW = {"name": "siem", "url": URL, "credential": {"kind": "bearer", "token": SECRET}}


async def make(api: httpx2.AsyncClient, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Create a sink; return its path and the response."""
    answer = await api.post(PATH, json=NEW | fields)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"], answer.json()


async def stored(sessions: Sessions, path: str) -> AuditSink:
    async with sessions() as session:
        return await session.get_one(AuditSink, parse_id("sink", path.rpartition("/")[2]))


async def test_a_credential_is_readable_nowhere_and_every_change_is_on_record_without_it(
    api: httpx2.AsyncClient, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    path, made = await make(api)
    assert (made["credential_kind"], made["format"], made["status"]) == ("bearer", "ndjson", "active")
    put = {"kind": "header", "name": "Authorization", "value": f"Splunk {SECRET}"}
    changed = await api.patch(path, json={"credential": put, "format": "splunk_hec", "description": "main"})
    assert (changed.status_code, changed.json()["credential_kind"]) == (200, "header")
    tried = await api.post(f"{path}/test")
    assert (tried.status_code, tried.json()["revision"]) == (200, 3)
    shown = changed.text + tried.text + (await api.get(path)).text + (await api.get(PATH)).text + str(made)
    row = await stored(sessions, path)
    opened = open_credential(Sealer([KEY.encode()]), row)
    assert opened == [(b"authorization", f"Splunk {SECRET}".encode())]
    assert (await api.delete(path)).status_code == 204
    row = await stored(sessions, path)
    assert (row.key_id, row.sealed, row.ended_at is None) == (None, None, False)
    async with sessions() as session:
        for table in ("audit_sinks", "audit_events", "idempotency_keys"):
            rows = await session.execute(text(f"SELECT t::text FROM {table} t"))
            shown += "".join(row[0] for row in rows)
    of_sink = {"object_id": made["id"], "since": made["created_at"]}
    events = (await api.get("/api/v1/audit-events", params=of_sink)).json()["items"]
    assert [event["action"] for event in events] == [
        f"audit_sink.{verb}" for verb in ("delete", "test", "update", "create")
    ]
    assert events[2]["changes"]["credential"] == {"from": "bearer", "to": "header"}
    assert events[3]["changes"]["url"] == "https://siem.invalid"
    assert SECRET not in shown + caplog.text
    assert "hidden" not in str(events)


FORBIDDEN = (
    *("http://siem.example.com/", "https://127.0.0.1/", "https://169.254.169.254/", "https://localhost/"),
    *("ftp://x.example.com/", "https://user:word@siem.example.com/"),
)


async def test_a_url_that_may_not_be_reached_is_refused_when_made_and_when_changed(
    api: httpx2.AsyncClient,
) -> None:
    path, _ = await make(api)
    for url in FORBIDDEN:
        for answer in (
            await api.post(PATH, json=NEW | {"url": url}),
            await api.patch(path, json={"url": url}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (422, "forbidden_url")


async def test_what_cannot_be_is_refused_field_by_field(api: httpx2.AsyncClient) -> None:
    header = {"kind": "header", "name": "X-Key", "value": "v"}
    bad = (
        {"format": "xml"}, {"start": "yesterday"}, {"credential": {"kind": "basic"}}, {"name": ""}, {"more": 1},
        {"credential": {"kind": "bearer", "token": "two words"}}, {"credential": header | {"name": "Content-Type"}},
        {"credential": header | {"name": "Scopegate-Batch-Id"}}, {"credential": header | {"value": "a\r\nb: c"}},
    )  # fmt: skip
    for fields in bad:
        answer = await api.post(PATH, json=NEW | fields)
        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed"), fields
        assert "two words" not in answer.text


async def test_a_credential_does_not_move_to_another_origin(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    path, _ = await make(api)
    refused = await api.patch(path, json={"url": "https://other.invalid/"})
    assert (refused.status_code, refused.json()["code"]) == (409, "credential_bound_to_origin")
    assert (await api.patch(path, json={"url": "https://siem.invalid/elsewhere"})).status_code == 200
    new = {"url": "https://other.invalid/", "credential": {"kind": "bearer", "token": "another"}}
    assert (await api.patch(path, json=new)).status_code == 200
    row = await stored(sessions, path)
    opened = open_credential(Sealer([KEY.encode()]), row)
    assert opened == [(b"authorization", b"Bearer another")]
    free = {"credential": {"kind": "none"}}
    assert (await api.patch(path, json=free)).json()["credential_kind"] == "none"
    assert (await api.patch(path, json={"url": "https://third.invalid/"})).status_code == 200


async def test_who_may_send_the_trail_away_may_read_it_and_auditors_see_where_it_goes(api_as: ApiAs) -> None:
    for permissions in ROLE_PERMISSIONS.values():
        if Permission.AUDIT_SINKS_WRITE in permissions:
            assert Permission.AUDIT_READ in permissions
    expected = {
        "owner": (200, 201),
        "admin": (200, 201),
        "auditor": (200, 403),
        **dict.fromkeys(("issuer", "approver", "provisioner"), (403, 403)),
    }
    for role, statuses in expected.items():
        api = await api_as(role)
        assert ((await api.get(PATH)).status_code, (await api.post(PATH, json=NEW)).status_code) == statuses


async def test_a_sink_says_how_far_behind_it_is_and_begins_where_it_was_told_to(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async with sessions() as session:
        session.add(AuditEvent(id=new_id(), action="tool.call", actor_type="identity"))
        await session.commit()
    await settled(sessions)
    disabled = {"status": "disabled"}
    now, _ = await make(api, start="now")
    beginning, _ = await make(api, start="beginning")
    for path in (now, beginning):
        assert (await api.patch(path, json=disabled)).status_code == 200
    lags = [(await api.get(path)).json()["lag"] for path in (now, beginning)]
    # Four changes of sinks, and the old value of one of them.
    assert lags[0]["events"] == 4
    assert lags[1]["events"] > lags[0]["events"]
    assert lags[1]["since"] < lags[0]["since"]
    listed = (await api.get(PATH, params={"sort": "created_at"})).json()["items"]
    assert [item["lag"]["events"] for item in listed] == [lag["events"] for lag in lags]


async def test_a_disabled_sink_is_not_tried(api: httpx2.AsyncClient) -> None:
    path, _ = await make(api)
    assert (await api.patch(path, json={"status": "disabled"})).status_code == 200
    answer = await api.post(f"{path}/test")
    assert (answer.status_code, answer.json()["code"]) == (409, "audit_sink_disabled")


async def test_there_are_only_so_many_readers_of_the_whole_trail(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_SINKS", 2)
    path, _ = await make(api)
    await make(api)
    answer = await api.post(PATH, json=NEW)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_audit_sinks")
    assert (await api.delete(path)).status_code == 204
    await make(api)


async def test_of_many_that_are_made_at_once_there_are_no_more_than_the_limit(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_SINKS", 2)
    count = service.count_live
    both = asyncio.Barrier(2)

    async def count_together(session: AsyncSession) -> int:
        found = await count(session)
        # A request that is admitted alone does not meet another.
        with suppress(TimeoutError, BrokenBarrierError):
            async with asyncio.timeout(0.3):
                await both.wait()
        return found

    await make(api)
    monkeypatch.setattr(service, "count_live", count_together)
    answers = await asyncio.gather(*(api.post(PATH, json=NEW | {"name": f"siem {n}"}) for n in range(3)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert len((await api.get(PATH)).json()["items"]) == 2


async def test_a_change_lets_it_begin_anew_and_nothing_new_changes_nothing(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    path, made = await make(api)
    assert (await api.patch(path, json={"name": "siem"})).json()["revision"] == 1
    failing = (
        "UPDATE audit_sinks SET failures = 3, failing_since = now(), error = 'connect', batch_epoch = 1, "
        "batch_xact = 1, batch_seq = 1, batch_events = 7, due_at = now() + interval '1 hour'"
    )
    async with sessions() as session:
        await session.execute(text(failing))
        await session.commit()
    shown = (await api.get(path)).json()
    assert (shown["failures"], shown["error"], shown["held_until"] is None) == (3, "connect", False)
    assert [item["id"] for item in (await api.get(PATH, params={"failing": True})).json()["items"]] == [
        made["id"]
    ]
    changed = (await api.patch(path, json={"format": "json"})).json()
    assert (changed["error"], changed["failing_since"], changed["held_until"]) == (None, None, None)
    row = await stored(sessions, path)
    assert (row.batch_xact, row.batch_events) == (None, 500)


async def test_ended_sinks_are_shown_to_those_who_ask_and_may(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    path, made = await make(api)
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).status_code == 404
    shown = (await api.get(path, params={"include": "ended"})).json()
    assert (shown["id"], shown["lag"], shown["ended_at"] is None) == (made["id"], None, False)
    assert (await api.get(PATH)).json()["items"] == []
    assert len((await api.get(PATH, params={"include": "ended"})).json()["items"]) == 1


async def test_credentials_are_sealed_anew_with_the_newest_key(sessions: Sessions) -> None:
    old, new = b"o" * 32, b"n" * 32
    async with sessions() as session:
        row = AuditSink(name="s", url=URL, format="json", epoch=0, xact=0, seq=0)
        credential = AuditSinkCreate.model_validate(NEW).credential
        put_credential(Sealer([old]), row, credential)
        session.add(row)
        await session.commit()
    assert await reseal_credentials(sessions, Sealer([b"x" * 32])) == (0, 1)
    assert await reseal_credentials(sessions, Sealer([new, old])) == (1, 0)
    assert await reseal_credentials(sessions, Sealer([new, old])) == (0, 0)
    async with sessions() as session:
        kept = await session.get_one(AuditSink, row.id)
        assert open_credential(Sealer([new]), kept)[0][1].endswith(SECRET.encode())


async def test_readiness_warns_of_sinks_that_fail_that_missed_something_and_that_no_key_opens(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    async def warnings() -> list[str]:
        return [
            one for one in (await api.get("/readyz")).json()["warnings"] if "sealed" in one or "sinks" in one
        ]

    path, _ = await make(api)
    for change, warned in (
        ("failing_since = now() - interval '4 minutes', leased_until = now() + interval '1 hour'", None),
        ("failing_since = now() - interval '6 minutes'", "1 audit sinks fail;"),
        ("failing_since = NULL, missed_at = now() - interval '6 days'", "1 audit sinks missed events"),
        ("missed_at = now() - interval '8 days'", None),
        ("key_id = 'lost'", "1 stored credentials are sealed with a key"),
    ):
        async with sessions() as session:
            await session.execute(text(f"UPDATE audit_sinks SET {change}"))
            await session.commit()
        found = await warnings()
        assert [one[: len(warned or "")] for one in found] == ([] if warned is None else [warned]), change
    assert (await api.delete(path)).status_code == 204
    assert await warnings() == []


async def test_a_sink_that_retention_overtakes_says_so(
    api: httpx2.AsyncClient, sessions: Sessions, database_url: str
) -> None:
    behind, _ = await make(api, start="beginning")
    ahead, _ = await make(api, start="now")
    connection = await asyncpg.connect(plain_url(database_url))
    month = await connection.fetchval(
        "SELECT 'audit_events_' || to_char(now() AT TIME ZONE 'UTC', '\"y\"YYYY\"m\"MM')"
    )
    last = await connection.fetchrow(
        "SELECT epoch, xact, seq FROM audit_events ORDER BY 1 DESC, 2 DESC, 3 DESC LIMIT 1"
    )
    assert last is not None
    place = parse_id("sink", ahead.rpartition("/")[2])
    await connection.execute(
        "UPDATE audit_sinks SET epoch = $1, xact = $2, seq = $3 WHERE id = $4", *last, place
    )
    await record_missed(connection, month)
    await connection.close()
    assert (await api.get(behind)).json()["missed_at"] is not None
    assert (await api.get(ahead)).json()["missed_at"] is None
