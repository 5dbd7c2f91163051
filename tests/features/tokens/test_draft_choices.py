"""A token draft offers what calls would be allowed, by existing grants or a new one."""

from typing import TYPE_CHECKING

import httpx2
import pytest
from sqlalchemy import text

from app.access.point_in_time import AccessReader
from app.features.tokens.drafts import Offers, offers_to
from tests.features.access.test_effective_access import Fleet
from tests.features.principals import Json, Sessions, grant, made, person, plain

if TYPE_CHECKING:
    from app.main import Scopegate

FORBIDS = """@reason("Not here.")
forbid (principal, action == Action::"call_tool", resource == Tool::"{}/wipe");"""


@pytest.fixture
async def fleet(api: httpx2.AsyncClient) -> Fleet:
    """Three servers with a tool of each risk."""
    fleet = Fleet(api)
    for name in ("alpha", "beta", "gamma"):
        await fleet.add(name, description=f"The {name} desk")
    return fleet


async def offered(
    app: "Scopegate", sessions: Sessions, whose: Json, *, grantable: bool = False, q: str = "", after: str = "",
    limit: int = 10,
) -> Offers:  # fmt: skip
    async with sessions() as session:
        reader = AccessReader(session, app.api.state.access)
        return await offers_to(
            session, reader, plain(whose), grantable=grantable, q=q, after=after, limit=limit
        )


def names(offers: Offers) -> dict[str, set[tuple[str, bool]]]:
    """By the prefix of each slug: the tools, and whether they are granted."""
    return {
        server.slug.partition("-")[0]: {(tool.name, tool.is_granted) for tool in server.tools}
        for server in offers.servers
    }


async def test_what_is_granted_is_offered_and_the_rest_where_a_grant_may_be_made(
    app: "Scopegate", api: httpx2.AsyncClient, sessions: Sessions, fleet: Fleet
) -> None:
    ana = await person(api)
    reading = {"kind": "risk", "risk": ["read"]}
    await grant(api, ana, servers=fleet.only("alpha"), tools=reading)
    await grant(api, ana, servers=fleet.only("beta"))
    everything = {("look", True), ("change", True), ("wipe", True)}
    assert names(await offered(app, sessions, ana)) == {"alpha": {("look", True)}, "beta": everything}
    found = await offered(app, sessions, ana, grantable=True)
    assert names(found) == {
        "alpha": {("look", True), ("change", False), ("wipe", False)},
        "beta": everything,
        "gamma": {("look", False), ("change", False), ("wipe", False)},
    }
    assert [(server.is_granted, server.is_whole) for server in found.servers] == [
        (True, False),
        (True, True),
        (False, False),
    ]


async def test_what_policy_or_an_administrator_keeps_shut_is_offered_to_nobody(
    app: "Scopegate", api: httpx2.AsyncClient, sessions: Sessions, fleet: Fleet
) -> None:
    ana = await person(api)
    await grant(api, ana, servers=fleet.only("alpha"))
    policy = await made(api, "policies", {"name": "No wiping", "text": FORBIDS.format(fleet.slugs["alpha"])})
    published = await api.post(f"/api/v1/policies/{policy['id']}/publish", headers={"If-Match": "*"})
    assert published.status_code == 200, published.text
    disabled = await api.patch(f"/api/v1/servers/{fleet.ids['beta']}", json={"status": "disabled"})
    assert disabled.status_code == 200
    found = names(await offered(app, sessions, ana, grantable=True))
    assert found["alpha"] == {("look", True), ("change", True)}
    assert "beta" not in found
    await api.post(f"/api/v1/identities/{ana['id']}/suspend", json={"reason": "away"})
    assert await offered(app, sessions, ana, grantable=True) == Offers("identity_suspended")


async def test_servers_are_searched_by_what_they_and_their_tools_are_called_and_come_in_pages(
    app: "Scopegate", api: httpx2.AsyncClient, sessions: Sessions, fleet: Fleet
) -> None:
    ana = await person(api)
    await grant(api, ana, servers=fleet.only("alpha", "beta"))
    for q, expected in (
        ("The BETA desk", {"beta"}),
        (fleet.slugs["alpha"], {"alpha"}),
        ("WIP", {"alpha", "beta"}),
        ("gamma", set()),
        ("%", set()),
    ):
        assert names(await offered(app, sessions, ana, q=q)).keys() == expected, q
    first = await offered(app, sessions, ana, grantable=True, limit=2)
    assert names(first).keys() == {"alpha", "beta"}
    assert first.following == fleet.slugs["beta"]
    last = await offered(app, sessions, ana, grantable=True, limit=2, after=first.following or "")
    assert names(last).keys() == {"gamma"}
    assert last.following is None


async def test_what_an_erasure_takes_are_drafts_too(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    ana, maker = await person(api), await person(api)
    async with sessions() as session:
        for owner, whose in ((maker, ana), (ana, maker), (maker, maker)):
            await session.execute(
                text("INSERT INTO token_drafts (id, person_id, content) "
                     "VALUES (gen_random_uuid(), :owner, jsonb_build_object('identity_id', CAST(:whose AS text)))"),
                {"owner": plain(owner), "whose": whose["id"]},
            )  # fmt: skip
        await session.commit()
    assert (
        await api.post(f"/api/v1/identities/{ana['id']}/offboard", json={"reason": "left"})
    ).status_code == 200
    assert (await api.post(f"/api/v1/identities/{ana['id']}/erase", json={})).status_code in (200, 204)
    async with sessions() as session:
        left = (
            await session.execute(text("SELECT person_id, content ->> 'identity_id' FROM token_drafts"))
        ).all()
    assert [tuple(row) for row in left] == [(plain(maker), maker["id"])]
