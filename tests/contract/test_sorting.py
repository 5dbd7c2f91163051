"""``sort=`` orders a list whole: pages follow each other without a gap or a repeat, ties and missing values too."""

from typing import Any

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from tests.contract.test_preconditions import DOCUMENT
from tests.contract.things import Things

Sessions = async_sessionmaker[AsyncSession]
NAMES = ["Beta", "alpha", "beta", "Ähre", "alpha2", "ALPHA", "beta"]


def orders() -> dict[str, list[str]]:
    """The orders that each list offers, by its path."""
    found = {}
    for path, item in DOCUMENT["paths"].items():
        if path.startswith("/api/v1/me/"):
            # One's own: a part of a list that is here already.
            continue
        for parameter in item.get("get", {}).get("parameters", []):
            if parameter["name"] == "sort":
                schema = parameter["schema"]
                name = schema.get("$ref", schema.get("allOf", [{}])[0].get("$ref", "")).rpartition("/")[2]
                found[path] = DOCUMENT["components"]["schemas"].get(name, schema)["enum"]
    return found


def test_every_list_of_objects_offers_orders() -> None:
    assert orders().keys() == {
        f"/api/v1/{kind}"
        for kind in (
            "servers", "tools", "identities", "groups", "grants", "tokens", "service-accounts", "administrators",
            "identity-providers", "webhooks", "audit-sinks", "policies",
        )
    }  # fmt: skip
    for path, offered in orders().items():
        assert offered[:2] == ["-created_at", "created_at"], path
        assert {order.removeprefix("-") for order in offered} == {o for o in offered if o[0] != "-"}, path


async def walk(api: httpx2.AsyncClient, path: str, order: str, **filters: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    parameters = {"sort": order, "limit": "2", **filters}
    while True:
        page = (await api.get(path, params=parameters)).json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        parameters["cursor"] = page["next_cursor"]


async def tokens(things: Things) -> None:
    for name in NAMES:
        path, body = await things.order("tokens")
        assert body is not None
        assert (await things.api.post(path, json=body | {"name": name})).status_code == 201


async def test_names_sort_whatever_their_case_and_equal_ones_by_age(
    things: Things, sessions: Sessions
) -> None:
    await tokens(things)
    async with sessions() as session:
        query = "SELECT name FROM tokens ORDER BY lower(name), id"
        expected = list(await session.scalars(text(query)))
    assert len(expected) == len(NAMES)
    assert [item["name"] for item in await walk(things.api, "/api/v1/tokens", "name")] == expected
    assert [item["name"] for item in await walk(things.api, "/api/v1/tokens", "-name")] == expected[::-1]


async def test_what_never_ends_sorts_last(things: Things) -> None:
    ends = ["2030-01-01T00:00:00.000001Z", None, "2029-01-01T00:00:00Z", None, "2030-01-01T00:00:00Z"]
    for end in ends:
        path, body = await things.order("grants")
        assert body is not None
        assert (await things.api.post(path, json=body | {"expires_at": end})).status_code == 201
    upwards = await walk(things.api, "/api/v1/grants", "expires_at")
    assert [item["expires_at"] for item in upwards] == [ends[2], ends[4], ends[0], None, None]
    assert await walk(things.api, "/api/v1/grants", "-expires_at") == upwards[::-1]


async def test_the_oldest_first_is_the_newest_first_turned_round(things: Things) -> None:
    await tokens(things)
    upwards = await walk(things.api, "/api/v1/tokens", "created_at")
    assert [item["name"] for item in upwards] == NAMES
    assert await walk(things.api, "/api/v1/tokens", "-created_at") == upwards[::-1]


async def test_a_filter_holds_in_every_order(things: Things) -> None:
    await tokens(things)
    for order in orders()["/api/v1/tokens"]:
        found = await walk(things.api, "/api/v1/tokens", order, q="alpha")
        assert sorted(item["name"] for item in found) == ["ALPHA", "alpha", "alpha2"], order


async def test_every_order_of_every_list_goes_through_pages(things: Things) -> None:
    kinds = ("servers", "tools", "identities", "groups", "service-accounts", "identity-providers")
    for kind in kinds:
        for _ in range(3):
            await things.make(kind)
    for path, offered in orders().items():
        for order in offered:
            found = [item["id"] for item in await walk(things.api, path, order)]
            assert len(found) == len(set(found)), f"{path} {order}"
            assert set(found) == {item["id"] for item in await walk(things.api, path, "-created_at")}


async def test_a_cursor_is_bound_to_its_order(things: Things) -> None:
    await tokens(things)
    first = await things.api.get("/api/v1/tokens", params={"sort": "name", "limit": "2"})
    cursor = first.json()["next_cursor"]
    for parameters in ({"sort": "-name"}, {"sort": "expires_at"}, {}):
        answer = await things.api.get("/api/v1/tokens", params={"cursor": cursor, **parameters})
        assert (answer.status_code, answer.json()["code"]) == (400, "cursor_mismatch")


@pytest.mark.parametrize("order", ["", "-", "nothing", "name,created_at", "--name", "NAME"])
async def test_an_order_that_is_not_offered_is_refused(api: httpx2.AsyncClient, order: str) -> None:
    answer = await api.get("/api/v1/tokens", params={"sort": order})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["?sort"]


async def test_the_database_walks_an_index_for_what_is_offered(sessions: Sessions) -> None:
    offered = {
        "servers": ["slug", "lower(name)"],
        "tools": ["name"],
        "identities": ["lower(user_name)"],
        "groups": ["lower(name)"],
        "grants": ["coalesce(expires_at, 'infinity'::timestamptz)"],
        "tokens": ["lower(name)", "expires_at"],
        "service_accounts": ["lower(name)"],
        "administrators": ["coalesce(last_sign_in_at, '-infinity'::timestamptz)"],
        "identity_providers": ["lower(name)"],
    }
    async with sessions() as session:
        await session.execute(text("SET enable_seqscan = off"))
        for table, keys in offered.items():
            for key in keys:
                query = f"EXPLAIN SELECT * FROM {table} ORDER BY {key} DESC, id DESC LIMIT 51"
                plan = "\n".join(await session.scalars(text(query)))
                assert "Index Scan Backward using ix_" in plan, plan
                assert "Sort" not in plan, plan
