"""Lists of tokens: filters, pages, and a status that agrees with a use."""

import re
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import Select, select, text
from sqlalchemy.dialects import postgresql
from sqlmodel import col

from app.features.tokens.queries import STATUS_SQL, count_active, has_status
from app.lib.ids import IDENTITY, SERVER, TOKEN, format_id, new_id, parse_id
from app.models.tokens import Token
from tests.api import ApiAs
from tests.features.tokens.world import World, in_days, pointers

TOKENS = "/api/v1/tokens"


async def ids(world: World, **query: Any) -> list[str]:
    answer = await world.api.get(TOKENS, params=query)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


async def test_pages_come_newest_first_and_never_repeat(world: World) -> None:
    person = await world.person()
    issued = [(await world.issue(person))["id"] for _ in range(5)]
    seen, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await world.api.get(TOKENS, params=query)).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == issued[::-1]


async def test_a_cursor_is_bound_to_its_filters(world: World) -> None:
    person = await world.person()
    for _ in range(2):
        await world.issue(person)
    cursor = (await world.api.get(TOKENS, params={"limit": 1})).json()["next_cursor"]
    answer = await world.api.get(TOKENS, params={"limit": 1, "cursor": cursor, "q": "x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_mismatch")


async def test_status_follows_identity_owner_and_every_ancestor(world: World) -> None:
    person = await world.person()
    agent = await world.agent(person)
    tokens = [await world.issue(person), await world.issue(agent)]
    # A token of a transferred agent still depends on the token of its former owner.
    tokens.append(await world.issue(agent, parent_id=tokens[0]["id"], expires_at=in_days(1)))
    heir = await world.person()
    await world.sql("UPDATE identities SET owner_id = :heir WHERE id = :agent", heir=heir.id, agent=agent.id)
    await world.sql("UPDATE identities SET status = 'suspended' WHERE id = :id", id=person.id)
    assert [(await world.read(token))["status"] for token in tokens] == ["suspended", "active", "suspended"]
    assert await ids(world, status="active") == [tokens[1]["id"]]
    assert await ids(world, status=["suspended", "revoked"]) == [tokens[2]["id"], tokens[0]["id"]]


async def test_each_choice_of_statuses_lists_those_that_say_so_and_no_others(world: World) -> None:
    person, leaver = await world.person(), await world.person()
    agent, robot = await world.agent(person), await world.agent(leaver)
    above = await world.issue(leaver)
    tokens = [
        await world.issue(person), await world.issue(agent), above, await world.issue(robot),
        # A token of an active identity under one of an inactive identity; and one under that.
        await world.issue(robot, parent_id=above["id"], expires_at=in_days(2)),
        *[await world.issue(person) for _ in range(2)],
        *[await world.issue(leaver) for _ in range(2)],
    ]  # fmt: skip
    tokens.append(await world.issue(robot, parent_id=tokens[4]["id"], expires_at=in_days(1)))
    handed = "UPDATE identities SET owner_id = :heir WHERE id = :agent"
    await world.sql(handed, heir=person.id, agent=robot.id)
    for place, how in ((5, "revoked_at"), (6, "expires_at"), (7, "revoked_at"), (8, "expires_at")):
        await world.sql(
            f"UPDATE tokens SET {how} = now() WHERE id = :id", id=parse_id(TOKEN, tokens[place]["id"])
        )
    await world.sql("UPDATE identities SET status = 'suspended' WHERE id = :id", id=leaver.id)
    said = {token["id"]: (await world.read(token))["status"] for token in tokens}
    assert sorted(said.values()) == ["active"] * 3 + ["expired"] * 2 + ["revoked"] * 2 + ["suspended"] * 3
    kinds = ["active", "suspended", "expired", "revoked"]
    for wanted in (chosen for size in range(1, 5) for chosen in combinations(kinds, size)):
        assert set(await ids(world, status=list(wanted))) == {
            id for id, is_so in said.items() if is_so in wanted
        }
    async with world.sessions() as session:
        assert [await count_active(session, most) for most in (1, 2, 3, 100)] == [1, 2, 3, 3]


async def test_whether_holders_are_stopped_is_asked_by_key_and_what_has_ended_is_passed_over(
    world: World,
) -> None:
    """For any number of people and expired tokens."""
    statements: dict[str, str | Select[Any]] = {
        "reading": f"SELECT {STATUS_SQL} FROM tokens",
        "active": select(col(Token.id))
        .where(has_status(["active"]))
        .order_by(col(Token.expires_at))
        .limit(101),
        "revoked": select(col(Token.id))
        .where(has_status(["revoked"]))
        .order_by(col(Token.id).desc())
        .limit(51),
    }
    async with world.sessions() as session:
        await session.execute(text("SET enable_seqscan = off"))
        plans = {
            name: "\n".join(
                await session.scalars(text(f"EXPLAIN {sql if isinstance(sql, str) else literal(sql)}"))
            )
            for name, sql in statements.items()
        }
    for name in ("reading", "active"):
        assert re.search(
            r"using pk_identities on identities holder.*\n +Index Cond: \(id = link", plans[name]
        )
    assert re.search(
        r"ix_tokens_expires_at_id on tokens.*\n +Index Cond: \(expires_at > now", plans["active"]
    )
    assert "ix_tokens_revoked" in plans["revoked"]


def literal(statement: Select[Any]) -> str:
    """A statement with its values in it."""
    return str(statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[no-untyped-call]


async def test_an_expired_token_says_so(world: World) -> None:
    token = await world.issue(await world.person())
    await world.sql("UPDATE tokens SET expires_at = now()")
    assert (await world.read(token))["status"] == "expired"
    assert await ids(world, status="expired") == [token["id"]]


async def test_filters_find_by_holder_parent_name_and_server(world: World) -> None:
    ada, bo = await world.person(), await world.person()
    prod = await world.server(labels={"env": "prod", "team": "db"})
    other = await world.server(labels={"env": "test"})
    everything = {"kind": "all"}

    def reaching(servers: dict[str, Any]) -> dict[str, Any]:
        return {"kind": "listed", "entries": [{"servers": servers, "tools": everything}]}

    grants = await world.issue(ada, name="100% Ada_1")
    by_id = await world.issue(bo, scope=reaching({"kind": "ids", "ids": [prod]}))
    by_label = await world.issue(bo, scope=reaching({"kind": "labels", "labels": {"env": "prod"}}))
    to_all = await world.issue(bo, scope=reaching(everything))
    no_label = await world.issue(bo, scope=reaching({"kind": "labels", "labels": {}}))
    nothing = await world.issue(bo, scope={"kind": "listed", "entries": []})
    child = await world.issue(ada, parent_id=grants["id"], expires_at=in_days(1), name="child")

    everyone = {token["id"] for token in (grants, child, by_id, by_label, to_all, no_label, nothing)}
    assert set(await ids(world)) == everyone
    assert set(await ids(world, identity_id=format_id(IDENTITY, ada.id))) == {grants["id"], child["id"]}
    assert await ids(world, parent_id=grants["id"]) == [child["id"]]
    assert await ids(world, q="0% ada_") == [grants["id"]]
    assert await ids(world, q="%") == [grants["id"]]
    assert set(await ids(world, server_id=prod)) == everyone - {no_label["id"], nothing["id"]}
    assert set(await ids(world, server_id=other)) == {grants["id"], child["id"], to_all["id"]}
    assert await ids(world, created_after=in_days(1)) == []
    assert set(await ids(world, created_before=in_days(1))) == everyone
    assert await ids(world, expires_before=in_days(3)) == [child["id"]]
    assert set(await ids(world, expires_after=in_days(3))) == everyone - {child["id"]}
    within = {"expires_after": in_days(0), "expires_before": in_days(3), "sort": "expires_at"}
    assert await ids(world, **within) == [child["id"]]


@pytest.mark.parametrize(
    "query",
    [
        {"status": "dead"},
        {"identity_id": "tok_x"},
        {"limit": 0},
        {"limit": 201},
        {"colour": "red"},
        {"q": "\x00"},
    ],
)
async def test_bad_filters_are_named(world: World, query: dict[str, Any]) -> None:
    answer = await world.api.get(TOKENS, params=query)
    assert pointers(answer)


async def test_last_use_is_read_from_where_it_is_kept(world: World) -> None:
    token = await world.issue(await world.person())
    assert (await world.read(token))["last_used_at"] is None
    await world.sql(
        "INSERT INTO token_uses (token_id, last_used_at) VALUES (:id, '2026-05-03T10:00:00Z')",
        id=parse_id(TOKEN, token["id"]),
    )
    assert (await world.read(token))["last_used_at"] == "2026-05-03T10:00:00Z"


async def test_what_is_not_there_is_404_and_another_kind_422(world: World) -> None:
    assert (await world.api.get(f"{TOKENS}/{format_id(TOKEN, new_id())}")).status_code == 404
    assert (await world.api.get(f"{TOKENS}/{format_id(SERVER, new_id())}")).status_code == 422


async def test_reading_needs_its_permission(api_as: ApiAs) -> None:
    assert (await (await api_as("provisioner")).get(TOKENS)).status_code == 403
    assert (await (await api_as("auditor")).get(TOKENS)).status_code == 200
