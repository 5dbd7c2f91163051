"""A pickup secret is seen only by its recipient: it is created when they, signed in, pick it up, once."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.http.authorization import Caller, Role
from app.lib.ids import IDENTITY, PICKUP, TOKEN, format_id, new_id, parse_id
from app.main import Scopegate
from app.models.identities import Identity
from tests.api import ApiAs, client_of
from tests.features.callers import SignedIn, a_person
from tests.features.tokens.world import World, pointers
from tests.gateway.messages import initialize

Json = dict[str, Any]
TOKENS = "/api/v1/tokens"
MCP = {"accept": "application/json, text/event-stream"}


def mine(pickup: Mapping[str, Any], verb: str = "") -> str:
    return f"/api/v1/me/pickups/{pickup['id']}{verb}"


def links(token: Mapping[str, Any], pickup: Mapping[str, Any] | None = None) -> str:
    return f"{TOKENS}/{token['id']}/pickups" + ("" if pickup is None else f"/{pickup['id']}")


async def offered(world: World, holder: Identity, **fields: Any) -> tuple[Json, Json]:
    """Issue a token with a pending pickup link; return both."""
    await world.link(holder.owner_id or holder.id)
    order = world.order(holder, delivery="pickup", **fields)
    answer = await world.api.post(TOKENS, json=order)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert (answer.json()["secret"], answer.json()["secret_available"]) == (None, False)
    return answer.json()["token"], answer.json()["pickup"]


async def state(world: World, token: Json, pickup: Json) -> str:
    answer = await world.api.get(links(token, pickup))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["state"])


async def refused(client: httpx2.AsyncClient, pickup: Json) -> tuple[int, str]:
    """Status and code of a refused pickup."""
    answer = await client.post(mine(pickup, "/take"))
    return answer.status_code, answer.json()["code"]


async def opens(app: Scopegate, secret: str) -> bool:
    """Whether a secret works at the gateway."""
    async with client_of(app, secret) as client:
        return (await client.post("/mcp", json=initialize(), headers=MCP)).status_code == 200


async def test_there_is_no_secret_until_its_recipient_takes_it(
    app: Scopegate, world: World, signed_in: SignedIn
) -> None:
    ada = await world.person()
    client = signed_in(a_person(ada))
    token, pickup = await offered(world, ada)
    assert (pickup["state"], pickup["recipient_id"]) == ("pending", format_id(IDENTITY, ada.id))
    assert pickup["url"] == f"http://127.0.0.1:8080/console/pickups/{pickup['id']}"
    assert await world.sql("SELECT 1 FROM token_secrets") == []
    seen = await client.get(mine(pickup))
    # Its reach is only for callers who may read servers and tools.
    assert seen.json() == {"pickup": pickup, "token": token | {"reaches": None, "warnings": None}}
    answer = await client.post(mine(pickup, "/take"))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    taken = answer.json()
    credential = parse_credential(taken["secret"], SCOPED_TOKEN)
    assert credential is not None
    assert credential.id == parse_id(TOKEN, token["id"])
    assert await opens(app, taken["secret"])
    shown = (await world.api.get(links(token, pickup))).json()
    assert shown["state"] == "picked_up"
    assert shown["picked_up_at"] is not None
    assert (await world.api.get(links(token))).json()["items"] == [shown]
    assert await world.actions(credential.id) == ["token.issue", "token.pickup_create", "token.pick_up"]
    named = await world.sql(
        "SELECT DISTINCT changes ->> 'pickup_id' FROM audit_events WHERE action LIKE 'token.pick%'"
    )
    assert [row[0] for row in named] == [pickup["id"]]


async def test_of_all_who_try_at_once_one_gets_it(world: World, signed_in: SignedIn) -> None:
    ada = await world.person()
    client = signed_in(a_person(ada))
    token, pickup = await offered(world, ada)
    answers = await asyncio.gather(*(client.post(mine(pickup, "/take")) for _ in range(8)))
    codes = sorted((answer.status_code, answer.json().get("code", "")) for answer in answers)
    assert [code for code in codes if code[0] == 200] == [(200, "")]
    assert {code for code in codes if code[0] != 200} <= {(409, "pickup_already_used"), (503, "unavailable")}
    assert len(await world.sql("SELECT 1 FROM token_secrets")) == 1
    assert (await world.read(token))["revision"] == 2


async def test_a_link_opens_for_its_recipient_alone(world: World, signed_in: SignedIn, api_as: ApiAs) -> None:
    ada, eve = await world.person(), await world.person()
    bot = await world.agent(ada)
    for holder in (ada, bot):
        token, pickup = await offered(world, holder)
        assert pickup["recipient_id"] == format_id(IDENTITY, ada.id)
        for other in (a_person(eve), a_person(eve, Role.OWNER), a_person(bot)):
            for answer in (
                await signed_in(other).get(mine(pickup)),
                await signed_in(other).post(mine(pickup, "/take")),
            ):
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert await state(world, token, pickup) == "pending"
        assert (await signed_in(a_person(ada)).post(mine(pickup, "/take"))).status_code == 200


async def test_no_program_takes_the_place_of_its_owner(
    world: World, signed_in: SignedIn, api_as: ApiAs
) -> None:
    ada = await world.person()
    token, pickup = await offered(world, ada)
    everything = frozenset({Role.OWNER})
    for kind, person in (("service_account", ada.id), ("break_glass", None)):
        client = signed_in(Caller(kind, new_id(), everything, person))
        for answer in (
            await client.get(mine(pickup)),
            await client.post(mine(pickup, "/take")),
            await client.get("/api/v1/me/tokens"),
            await client.get("/api/v1/me/access"),
            await client.post(f"/api/v1/me/tokens/{token['id']}/rotate", json={}),
            await client.post(f"/api/v1/me/tokens/{token['id']}/revoke", json={"reason": "x"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), kind
    assert await world.sql("SELECT 1 FROM token_secrets") == []


async def test_a_spent_link_says_when_and_tells_the_administrators_once_an_hour(
    world: World, signed_in: SignedIn
) -> None:
    hook = {
        "name": "h",
        "url": "https://hooks.invalid/",
        "events": ["token.picked_up", "token.pickup_reopened"],
    }
    assert (await world.api.post("/api/v1/webhooks", json=hook)).status_code == 201
    ada = await world.person()
    client = signed_in(a_person(ada))
    token, pickup = await offered(world, ada)
    assert (await client.post(mine(pickup, "/take"))).status_code == 200
    again = await client.post(mine(pickup, "/take"))
    assert (again.status_code, again.json()["code"]) == (409, "pickup_already_used")
    for said in ("was used on 20", "tell your administrator"):
        assert said in again.json()["detail"]
    refusals = "SELECT outcome FROM audit_events WHERE action = 'token.pickup_refused'"
    assert [row[0] for row in await world.sql(refusals)] == ["denied"]
    opened = (await client.get(mine(pickup))).json()["pickup"]
    assert opened["state"] == "picked_up"
    assert opened["reopened_at"] is not None
    assert (await world.api.get(links(token, pickup))).json()["reopened_at"] == opened["reopened_at"]
    assert await world.actions(parse_id(TOKEN, token["id"])) == [
        *("token.issue", "token.pickup_create", "token.pick_up", "token.pickup_refused")
    ]
    query = "SELECT type, data FROM webhook_deliveries ORDER BY id"
    about = {
        "pickup_id": pickup["id"],
        "token_id": token["id"],
        "identity_id": format_id(IDENTITY, ada.id),
        "recipient_id": format_id(IDENTITY, ada.id),
    }
    messages = [(row.type, row.data) for row in await world.sql(query)]
    assert [(type, {**data, "event_id": None}) for type, data in messages] == [
        ("token.picked_up", about | {"event_id": None}),
        ("token.pickup_reopened", about | {"event_id": None}),
    ]
    await world.sql("UPDATE token_pickups SET reopened_at = reopened_at - interval '1 hour'")
    assert (await client.get(mine(pickup))).status_code == 200
    assert len(await world.sql(query)) == 3


async def test_what_is_over_is_taken_by_nobody(world: World, signed_in: SignedIn) -> None:
    ada = await world.person()
    client = signed_in(a_person(ada))
    token, pickup = await offered(world, ada)
    await world.sql("UPDATE token_pickups SET expires_at = now() - interval '1 second'")
    assert await state(world, token, pickup) == "expired"
    assert await refused(client, pickup) == (409, "pickup_ended")
    token, pickup = await offered(world, ada)
    # Narrowed since, the token ends before its link would.
    await world.sql("UPDATE tokens SET expires_at = now() - interval '1 second'")
    assert (await client.get(mine(pickup))).json()["pickup"]["state"] == "expired"
    assert await refused(client, pickup) == (409, "pickup_ended")
    token, pickup = await offered(world, ada)
    revoked = await world.api.post(f"{TOKENS}/{token['id']}/revoke", json={"reason": "lost"})
    assert revoked.status_code == 200
    assert await state(world, token, pickup) == "cancelled"
    assert await refused(client, pickup) == (409, "pickup_ended")
    assert await world.sql("SELECT 1 FROM token_secrets") == []


async def test_nothing_waits_after_an_offboarding_even_of_agents_that_go_on(
    world: World, signed_in: SignedIn
) -> None:
    ada, heir = await world.person(), await world.person()
    bot = await world.agent(ada)
    made = [await offered(world, holder) for holder in (ada, bot)]
    leave = {"reason": "left", "transfer_agents_to": format_id(IDENTITY, heir.id)}
    path = f"/api/v1/identities/{format_id(IDENTITY, ada.id)}/offboard"
    assert (await world.api.post(path, json=leave)).status_code == 200
    rows = await world.sql("SELECT state FROM token_pickups")
    assert [row[0] for row in rows] == ["cancelled", "cancelled"]
    for _, pickup in made:
        # A person with an old session, and the new owner of the agent.
        for person in (ada, heir):
            answer = await signed_in(a_person(person)).post(mine(pickup, "/take"))
            assert answer.status_code in {404, 409}
    assert await world.sql("SELECT 1 FROM token_secrets") == []
    # The new owner asks for a link of their own.
    await world.link(heir.id)
    renewed = (await world.api.post(links(made[1][0]), json={})).json()
    assert renewed["recipient_id"] == format_id(IDENTITY, heir.id)
    assert (await signed_in(a_person(heir)).post(mine(renewed, "/take"))).status_code == 200


async def test_taking_during_an_offboarding_leaves_nothing_alive(world: World, signed_in: SignedIn) -> None:
    ada = await world.person()
    client = signed_in(a_person(ada))
    token, pickup = await offered(world, ada)
    path = f"/api/v1/identities/{format_id(IDENTITY, ada.id)}/offboard"
    takes = [client.post(mine(pickup, "/take")) for _ in range(3)]
    answers = await asyncio.gather(*takes, world.api.post(path, json={"reason": "left"}))
    assert answers.pop().status_code == 200
    assert {answer.status_code for answer in answers} <= {200, 409, 503}
    assert (await world.read(token))["status"] == "revoked"
    assert await state(world, token, pickup) != "pending"


async def test_an_agent_that_changed_hands_or_is_stopped_gives_its_former_owner_nothing(
    world: World, signed_in: SignedIn
) -> None:
    ada, grace = await world.person(), await world.person()
    bot = await world.agent(ada)
    token, pickup = await offered(world, bot)
    await world.sql("UPDATE identities SET status = 'suspended' WHERE id = :id", id=bot.id)
    assert await refused(signed_in(a_person(ada)), pickup) == (409, "identity_not_active")
    await world.sql(
        "UPDATE identities SET status = 'active', owner_id = :to WHERE id = :id", id=bot.id, to=grace.id
    )
    assert await state(world, token, pickup) == "cancelled"
    for person in (ada, grace):
        assert await refused(signed_in(a_person(person)), pickup) == (404, "not_found")


async def test_a_new_link_for_a_token_takes_the_place_of_one_that_waits_and_overlaps(
    app: Scopegate, world: World, signed_in: SignedIn
) -> None:
    ada = await world.person()
    client = signed_in(a_person(ada))
    await world.link(ada.id)
    first = (await world.api.post(TOKENS, json=world.order(ada))).json()
    token = first["token"]
    lost = (await world.api.post(links(token), json={})).json()
    answer = await world.api.post(links(token), json={"overlap_s": 600})
    assert answer.status_code == 201
    pickup = answer.json()
    assert answer.headers["Location"] == links(token, pickup)
    assert answer.headers["ETag"] == '"1"'
    assert await state(world, token, lost) == "cancelled"
    assert await refused(client, lost) == (409, "pickup_ended")
    # Until it is used nothing changes for the existing secret.
    assert (await world.read(token))["overlap_until"] is None
    taken = (await client.post(mine(pickup, "/take"))).json()
    assert taken["token"]["overlap_until"] is not None
    assert await opens(app, first["secret"])
    assert await opens(app, taken["secret"])
    # One without an overlap ends both.
    last = (await world.api.post(links(token), json={})).json()
    final = (await client.post(mine(last, "/take"))).json()["secret"]
    assert [await opens(app, secret) for secret in (first["secret"], taken["secret"], final)] == [
        *(False, False, True)
    ]


async def test_rotating_ends_a_link_that_waits(world: World, signed_in: SignedIn) -> None:
    ada = await world.person()
    token, pickup = await offered(world, ada)
    assert (await world.api.post(f"{TOKENS}/{token['id']}/rotate", json={})).status_code == 200
    assert await refused(signed_in(a_person(ada)), pickup) == (409, "pickup_ended")


async def test_a_link_is_taken_back_unless_it_was_used(world: World, signed_in: SignedIn) -> None:
    ada = await world.person()
    token, pickup = await offered(world, ada)
    for _ in range(2):
        answer = await world.api.delete(links(token, pickup))
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert await refused(signed_in(a_person(ada)), pickup) == (409, "pickup_ended")
    actions = await world.actions(parse_id(TOKEN, token["id"]))
    assert actions == ["token.issue", "token.pickup_create", "token.pickup_cancel"]
    used = (await world.api.post(links(token), json={})).json()
    assert (await signed_in(a_person(ada)).post(mine(used, "/take"))).status_code == 200
    answer = await world.api.delete(links(token, used))
    assert (answer.status_code, answer.json()["code"]) == (409, "pickup_already_used")


async def test_links_are_made_by_who_may_issue_for_tokens_that_live(world: World, api_as: ApiAs) -> None:
    ada = await world.person()
    token, pickup = await offered(world, ada)
    other = await world.issue(ada)
    auditor = await api_as("auditor")
    assert (await auditor.get(links(token, pickup))).status_code == 200
    assert (await auditor.post(links(token), json={})).status_code == 403
    assert (await auditor.delete(links(token, pickup))).status_code == 403
    assert (await (await api_as("provisioner")).get(links(token))).status_code == 403
    assert (await world.api.get(links(other, pickup))).status_code == 404
    assert (await world.api.delete(links(other, pickup))).status_code == 404
    nobodys = {"id": format_id(TOKEN, new_id())}
    assert (await world.api.get(links(nobodys))).status_code == 404
    assert (await world.api.post(links(nobodys), json={})).status_code == 404
    assert (await world.api.get(links(token, {"id": format_id(PICKUP, new_id())}))).status_code == 404
    await world.api.post(f"{TOKENS}/{other['id']}/revoke", json={"reason": "x"})
    answer = await world.api.post(links(other), json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "token_ended")
    await world.sql("UPDATE identities SET status = 'suspended' WHERE id = :id", id=ada.id)
    answer = await world.api.post(links(token), json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "identity_not_active")


@pytest.mark.parametrize("body", [{"overlap_s": -1}, {"overlap_s": 86_401}, {"overlap_s": "60"}])
async def test_a_bad_overlap_is_named(world: World, body: Json) -> None:
    token, _ = await offered(world, await world.person())
    assert pointers(await world.api.post(links(token), json=body)) == {"/overlap_s"}


async def test_a_repeated_order_makes_one_token_and_one_link(world: World) -> None:
    ada = await world.person()
    await world.link(ada.id)
    order = world.order(ada, delivery="pickup")
    key = {"Idempotency-Key": "retry-1"}
    first, again = [await world.api.post(TOKENS, json=order, headers=key) for _ in range(2)]
    assert again.json() == first.json()
    assert len(await world.sql("SELECT 1 FROM token_pickups")) == 1


async def test_a_person_finds_what_waits_for_them_and_nothing_else(world: World, signed_in: SignedIn) -> None:
    ada, eve = await world.person(), await world.person()
    bot = await world.agent(ada)
    client = signed_in(a_person(ada))
    own = [(await offered(world, holder))[1] for holder in (ada, bot, ada, ada)]
    _, eves = await offered(world, eve)
    assert (await client.post(mine(own[2], "/take"))).status_code == 200
    await world.sql(
        "UPDATE token_pickups SET expires_at = now() WHERE id = :id", id=parse_id(PICKUP, own[3]["id"])
    )
    assert (await client.get("/api/v1/me/pickups")).json()["items"] == [own[1], own[0]]
    await world.sql("UPDATE identities SET owner_id = :to WHERE id = :id", to=eve.id, id=bot.id)
    # The link was for the former owner of the agent; the new one asks for another.
    for person, waiting in ((ada, [own[0]["token_id"]]), (eve, [eves["token_id"]])):
        found = (await signed_in(a_person(person)).get("/api/v1/me/pickups")).json()["items"]
        assert [one["token_id"] for one in found] == waiting


async def test_a_link_for_a_person_who_cannot_sign_in_is_refused_in_words(world: World) -> None:
    ada = await world.person()
    agent = await world.agent(ada)
    for holder in (ada, agent):
        answer = await world.api.post(TOKENS, json=world.order(holder, delivery="pickup"))
        assert (answer.status_code, answer.json()["code"]) == (409, "recipient_cannot_sign_in")
        assert "Invite the person" in answer.json()["detail"]
        token = await world.issue(holder)
        answer = await world.api.post(links(token), json={})
        assert (answer.status_code, answer.json()["code"]) == (409, "recipient_cannot_sign_in")
    assert len((await world.api.get(TOKENS)).json()["items"]) == 2
    await world.link(ada.id)
    await offered(world, agent)
    # No one can sign in at a provider without a client id.
    await world.sql("UPDATE identity_providers SET status = 'disabled'")
    answer = await world.api.post(TOKENS, json=world.order(ada, delivery="pickup"))
    assert answer.json()["code"] == "recipient_cannot_sign_in"
