"""An export has every event of the log at its start, once and in order; an incomplete one is recognizable."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.features.audit import queries, reading
from app.features.audit import reading as export
from app.lib.ids import EVENT, TOKEN, format_id, new_id
from app.models.audit import AuditClient, AuditEvent
from tests.api import Account, ApiAs
from tests.features.audit.test_counting import count_all
from tests.settling import settled
from tests.streams import listening

if TYPE_CHECKING:
    from app.main import Scopegate

PATH = "/api/v1/audit-events/export"
Sessions = async_sessionmaker[AsyncSession]
NOW = datetime.now(UTC)


def event(**columns: Any) -> AuditEvent:
    return AuditEvent(**{"id": new_id(), "action": "tool.call", "actor_type": "identity", **columns})


async def commit(sessions: Sessions, *events: AuditEvent) -> list[str]:
    """Commit each event in its own transaction; all can be read in order afterwards."""
    for row in events:
        async with sessions() as session:
            session.add(row)
            await session.commit()
    await settled(sessions)
    return [format_id(EVENT, row.id) for row in events]


async def exported(api: httpx2.AsyncClient, **params: Any) -> list[str]:
    answer = await api.get(PATH, params=params)
    assert answer.status_code == 200, answer.text
    return [json.loads(line)["id"] for line in answer.text.splitlines()]


async def test_everything_is_there_once_in_the_order_of_commits(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    monkeypatch.setattr(reading, "POLL_WINDOW", 5)
    written = await commit(sessions, *(event(tool=f"t{n % 2}") for n in range(9)))
    answer = await api.get(PATH)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"].startswith('attachment; filename="audit-events-')
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["id"] for line in lines] == written
    assert lines[0] == (await api.get(f"/api/v1/audit-events/{written[0]}")).json()
    assert await exported(api, tool="t1") == written[1::2]
    assert await exported(api, token_id=format_id(TOKEN, new_id())) == []


async def test_the_same_events_leave_as_ocsf(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    written = await commit(
        sessions, event(decision="deny"), event(action="group.create", object_type="group")
    )
    answer = await api.get(PATH, params={"format": "ocsf"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"].endswith('.ocsf.ndjson"')
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["metadata"]["uid"] for line in lines] == written
    assert [(line["class_uid"], line["metadata"]["version"]) for line in lines] == [
        (6003, "1.9.0"),
        (3006, "1.9.0"),
    ]


async def test_an_export_ends_where_the_trail_did_when_it_began(
    app: "Scopegate", owner: Account, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 1)
    written = await commit(sessions, event(), event())
    original = reading.read_on

    async def while_others_write(*arguments: Any) -> Any:
        await commit(sessions, event())
        return await original(*arguments)

    monkeypatch.setattr(export, "read_on", while_others_write)
    async with listening(app, PATH, {"Authorization": f"Bearer {owner.bearer}"}) as answer:
        body = await answer.body()
    assert [json.loads(line)["id"] for line in body.splitlines()] == written


@pytest.mark.parametrize("is_counted", [True, False])
async def test_a_span_of_time_has_all_of_its_events_counted_or_not(
    api: httpx2.AsyncClient, sessions: Sessions, is_counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "POLL_WINDOW", 1)
    times = [NOW - timedelta(hours=back) for back in (50, 49, 30, 5, 30, 4, 1, 0)]
    written = await commit(sessions, *(event(time=time) for time in times))
    if is_counted:
        await count_all(sessions)
    late = await commit(sessions, event(time=NOW - timedelta(hours=30)))
    for since, until in ((60, None), (40, None), (40, 10), (None, 10), (None, 100), (6, 3), (3, 2)):
        params = {
            name: (NOW - timedelta(hours=back, minutes=1)).isoformat()
            for name, back in (("since", since), ("until", until))
            if back is not None
        }
        inside = [
            id
            for id, time in zip([*written, *late], [*times, NOW - timedelta(hours=30)], strict=True)
            if (since is None or time >= NOW - timedelta(hours=since, minutes=1))
            and (until is None or time < NOW - timedelta(hours=until, minutes=1))
        ]
        assert await exported(api, **params) == inside, params


async def test_a_span_of_time_is_found_without_walking_through_what_is_outside(
    api: httpx2.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await commit(sessions, *(event(time=NOW - timedelta(days=9)) for _ in range(3)))
    inside = await commit(sessions, event(time=NOW - timedelta(days=5)))
    await commit(sessions, *(event() for _ in range(3)))
    await count_all(sessions)
    looks: list[queries.Position] = []
    original = queries.window_end

    def noting(query: Any, after: queries.Position, *rest: Any) -> Any:
        looks.append(after)
        return original(query, after, *rest)

    monkeypatch.setattr(queries, "window_end", noting)
    day = timedelta(days=1)
    params = {"since": (NOW - 6 * day).isoformat(), "until": (NOW - 4 * day).isoformat()}
    assert await exported(api, **params) == inside
    async with sessions() as session:
        places = (
            await session.execute(text("SELECT epoch, xact, seq FROM audit_events ORDER BY xact, seq"))
        ).all()
    assert looks[0] >= tuple(places[2])
    assert looks[-1] == tuple(places[-1])


async def test_a_table_has_a_column_for_each_field_and_no_formula(
    api: httpx2.AsyncClient, sessions: Sessions, owner: Account
) -> None:
    client = AuditClient(
        id=new_id(), ip="10.0.0.7", user_agent='a"b,c\r\nd', name="=cmd|' /C calc'!A0", version="@1"
    )
    async with sessions() as session:
        session.add(client)
        await session.commit()
    policies = [new_id(), new_id()]
    hostile = ["+1", "-1", "@x", "\t=1", " =1", "\uff1d1", "plain", "<b>", "pay \u202e001"]
    await commit(
        sessions,
        event(
            client_id=client.id, actor_id=owner.owner_id, policy_ids=policies, changes={"name": ["a", "=b"]},
            decision="deny",
        ),
        *(event(tool=tool) for tool in hostile),
    )  # fmt: skip
    answer = await api.get(PATH, params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert tuple(rows[0]) == export.COLUMNS
    first = rows[0]
    assert first["client_name"] == "'=cmd|' /C calc'!A0"
    assert first["client_version"] == "'@1"
    assert first["client_user_agent"] == 'a"b,c\r\nd'
    assert first["outcome"] == "denied"
    assert first["actor_name"] == "A person"
    assert len(first["policy_ids"].split()) == 2
    assert json.loads(first["changes"]) == {"name": ["a", "=b"]}
    assert [row["tool"] for row in rows[1:]] == [
        "'+1",
        "'-1",
        "'@x",
        "'\t=1",
        "' =1",
        "'\uff1d1",
        "plain",
        "<b>",
        "pay \\u202e001",
    ]


async def test_an_empty_table_has_its_head(api: httpx2.AsyncClient) -> None:
    answer = await api.get(PATH, params={"format": "csv", "token_id": format_id(TOKEN, new_id())})
    assert len(answer.text.splitlines()) == 1


async def test_an_export_whose_caller_loses_the_right_is_broken_off(
    app: "Scopegate", owner: Account, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE", 1)
    await commit(sessions, event(), event(), event())
    original = reading.read_on

    async def then_revoked(*arguments: Any) -> Any:
        async with sessions() as session:
            await session.execute(
                text("UPDATE service_account_credentials SET revoked_at = now() WHERE id = :id"),
                {"id": owner.credential_id},
            )
            await session.commit()
        return await original(*arguments)

    monkeypatch.setattr(export, "read_on", then_revoked)
    async with listening(app, PATH, {"Authorization": f"Bearer {owner.bearer}"}) as answer:
        body = await answer.body()
        assert answer.status == 200
        assert not answer.is_whole
    assert len(body.splitlines()) == 1


async def test_one_caller_has_so_many_exports(
    app: "Scopegate", api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.api.state.runtime.live._downloads, "_most_of_caller", 0)
    answer = await api.get(PATH)
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_exports")


BAD: list[tuple[dict[str, Any], int]] = [
    ({"format": "xml"}, 422),
    ({"limit": 5}, 422),
    ({"outcome": "success"}, 400),
    ({"tool": "a\x00b"}, 422),
]


@pytest.mark.parametrize(("params", "status"), BAD)
async def test_bad_parameters_are_refused(
    api: httpx2.AsyncClient, params: dict[str, Any], status: int
) -> None:
    assert (await api.get(PATH, params=params)).status_code == status


@pytest.mark.parametrize(("role", "status"), [("auditor", 200), ("issuer", 403)])
async def test_only_those_who_may_audit_export(api_as: ApiAs, role: str, status: int) -> None:
    assert (await (await api_as(role)).get(PATH)).status_code == status
