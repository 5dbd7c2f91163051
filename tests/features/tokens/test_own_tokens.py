"""People manage their own tokens and those of their agents without a role, and no others."""

from typing import Any

from app.http.authorization import Role
from app.lib.ids import IDENTITY, TOKEN, format_id, new_id, parse_id
from app.main import Scopegate
from app.models.identities import Identity
from tests.features.callers import SignedIn, a_person
from tests.features.principals import agent, grant, person
from tests.features.tokens.test_pickups import opens
from tests.features.tokens.world import World, in_days

OWN = "/api/v1/me/tokens"


async def family(world: World) -> tuple[Identity, dict[str, str], dict[str, str]]:
    """Ada, her tokens by holder, and those of others."""
    ada, eve = await world.person(), await world.person()
    bot, other = await world.agent(ada), await world.agent(eve)
    own = {"ada": await world.issue(ada, name="Studio"), "bot": await world.issue(bot)}
    others = {"eve": await world.issue(eve), "other": await world.issue(other)}
    return ada, {name: t["id"] for name, t in own.items()}, {name: t["id"] for name, t in others.items()}


async def test_a_person_sees_their_own_tokens_and_their_agents(world: World, signed_in: SignedIn) -> None:
    ada, own, others = await family(world)
    client = signed_in(a_person(ada))
    assert {one["id"] for one in (await client.get(OWN)).json()["items"]} == set(own.values())
    named = await client.get(OWN, params={"q": "stud", "status": "active"})
    assert [one["id"] for one in named.json()["items"]] == [own["ada"]]
    # A filter applies to one's own tokens, and a cursor works for no other person.
    eves = await client.get(
        OWN, params={"identity_id": (await world.read({"id": others["eve"]}))["identity_id"]}
    )
    assert eves.json()["items"] == []
    page = (await client.get(OWN, params={"limit": 1})).json()
    rest = (await client.get(OWN, params={"limit": 1, "cursor": page["next_cursor"]})).json()
    assert [one["id"] for one in page["items"] + rest["items"]] == [own["bot"], own["ada"]]
    foreign = signed_in(a_person(await world.person()))
    answer = await foreign.get(OWN, params={"limit": 1, "cursor": page["next_cursor"]})
    assert answer.json()["code"] == "cursor_mismatch"


async def test_a_person_rotates_their_own_and_nothing_of_it_widens(
    app: Scopegate, world: World, signed_in: SignedIn
) -> None:
    ada, own, _ = await family(world)
    client = signed_in(a_person(ada))
    for id in own.values():
        before = await world.read({"id": id})
        answer = await client.post(f"{OWN}/{id}/rotate", json={"overlap_s": 60})
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert await opens(app, answer.json()["secret"])
        after = await world.read({"id": id})
        changed = {name for name in before if before[name] != after[name]}
        assert changed <= {"revision", "updated_at", "overlap_until", "last_used_at"}
        stale = await client.post(f"{OWN}/{id}/rotate", json={}, headers={"If-Match": '"1"'})
        assert stale.status_code == 412
    by = "SELECT actor_type, on_behalf_of FROM audit_events WHERE action = 'token.rotate'"
    assert {tuple(row) for row in await world.sql(by)} == {("identity", ada.id)}


async def test_a_person_ends_their_own_with_what_was_attenuated_from_it(
    world: World, signed_in: SignedIn
) -> None:
    ada, own, _ = await family(world)
    client = signed_in(a_person(ada))
    parent = await world.read({"id": own["ada"]})
    child = await world.issue(ada, parent_id=parent["id"], expires_at=parent["expires_at"])
    tried = await client.post(f"{OWN}/{own['ada']}/revoke?dry_run=true", json={"reason": "laptop lost"})
    assert set(tried.json()["revoked"]["tokens"]) == {own["ada"], child["id"]}
    assert (await world.read(parent))["status"] == "active"
    answer = await client.post(f"{OWN}/{own['ada']}/revoke", json={"reason": "laptop lost"})
    assert (answer.status_code, answer.json()["changed"]) == (200, True)
    assert [(await world.read(one))["status"] for one in (parent, child)] == ["revoked", "revoked"]
    ended = await client.post(f"{OWN}/{own['ada']}/rotate", json={})
    assert (ended.status_code, ended.json()["code"]) == (409, "token_ended")


async def test_what_is_not_ones_own_is_not_there(world: World, signed_in: SignedIn) -> None:
    ada, own, others = await family(world)
    nobodys = format_id(TOKEN, new_id())
    for caller in (a_person(ada), a_person(ada, Role.OWNER)):
        client = signed_in(caller)
        for id in (*others.values(), nobodys):
            for verb, body in (("rotate", {}), ("revoke", {"reason": "x"})):
                answer = await client.post(f"{OWN}/{id}/{verb}", json=body)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    # The former owner of an agent has no access to its tokens.
    await world.sql("UPDATE identities SET owner_id = :to WHERE owner_id = :from",
                    to=(await world.person()).id, **{"from": ada.id})  # fmt: skip
    assert (await signed_in(a_person(ada)).post(f"{OWN}/{own['bot']}/rotate", json={})).status_code == 404


async def test_a_person_sees_what_they_reach_as_an_administrator_would(
    world: World, signed_in: SignedIn
) -> None:
    ada = await world.person()
    shown = {"id": format_id(IDENTITY, ada.id)}
    server = await world.server(labels={"env": "test"})
    await grant(world.api, shown)
    mine = (await signed_in(a_person(ada)).get("/api/v1/me/access")).json()
    theirs = (await world.api.get(f"/api/v1/identities/{shown['id']}/access")).json()
    assert [one["server_id"] for one in mine["items"]] == [server]
    assert mine | {"at": None} == theirs | {"at": None}


async def test_an_agent_that_is_handed_over_gives_its_new_owner_no_secret_by_itself(
    app: Scopegate, world: World, signed_in: SignedIn
) -> None:
    # Two callers who may only transfer agents could otherwise get access that others were given.
    ada = await person(world.api)
    mallory, accomplice = await world.person(), await world.person()
    bot = await agent(world.api, ada)
    order = {"name": "ci", "scope": {"kind": "grants"}, "expires_at": in_days(7), "identity_id": bot["id"]}
    token = (await made_token(world, order))["id"]
    provisioner, now_hers = signed_in(a_person(mallory, Role.PROVISIONER)), signed_in(a_person(mallory))
    path = f"/api/v1/identities/{bot['id']}"
    handed = await signed_in(a_person(accomplice, Role.PROVISIONER)).patch(
        path, json={"owner_id": format_id(IDENTITY, mallory.id)}, headers={"If-Match": "*"}
    )
    assert handed.status_code == 200, handed.text
    for client in (provisioner, now_hers):
        answer = await client.post(f"{OWN}/{token}/rotate", json={})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "token.rotate" not in await world.actions(parse_id(TOKEN, token))
    # A caller who issues tokens can give her one, which she manages from then on; and newer tokens are hers.
    await world.link(mallory.id)
    link = (await world.api.post(f"/api/v1/tokens/{token}/pickups", json={})).json()
    assert (await now_hers.post(f"/api/v1/me/pickups/{link['id']}/take")).status_code == 200
    later = (await made_token(world, order))["id"]
    for id in (token, later):
        assert (await now_hers.post(f"{OWN}/{id}/rotate", json={})).status_code == 200
    assert (await now_hers.post(f"{OWN}/{token}/revoke", json={"reason": "old"})).status_code == 200


async def made_token(world: World, order: dict[str, Any]) -> dict[str, Any]:
    answer = await world.api.post("/api/v1/tokens", json=order)
    assert answer.status_code == 201, answer.text
    token: dict[str, Any] = answer.json()["token"]
    return token
