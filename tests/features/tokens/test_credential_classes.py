"""Scoped tokens work only at the gateway; credentials of the API never work there."""

from app.main import Scopegate
from tests.api import Account, client_of
from tests.features.tokens.world import World
from tests.gateway.messages import initialize

MCP = {"accept": "application/json, text/event-stream"}


async def test_no_credential_of_one_class_opens_what_is_for_the_other(
    app: Scopegate, owner: Account, world: World
) -> None:
    issued = await world.api.post("/api/v1/tokens", json=world.order(await world.person()))
    scoped = issued.json()["secret"]
    async with client_of(app, scoped) as client:
        assert (await client.post("/mcp", json=initialize(), headers=MCP)).status_code == 200
        for path in ("/me", "/tokens", "/audit-events"):
            assert (await client.get(f"/api/v1{path}")).status_code == 401
        order = world.order(await world.person())
        assert (await client.post("/api/v1/tokens", json=order)).status_code == 401
    answers = set()
    for credential in (owner.bearer, owner.secret, "sgt_unknown"):
        async with client_of(app, credential) as client:
            for path in ("/mcp", "/mcp/some"):
                answer = await client.post(path, json=initialize(), headers=MCP)
                assert answer.status_code == 401
                answers.add(answer.text)
    assert len(answers) == 1, "none differs from one that does not exist"


async def test_a_token_counts_nowhere_but_in_its_header(app: Scopegate, world: World) -> None:
    issued = await world.api.post("/api/v1/tokens", json=world.order(await world.person()))
    secret = issued.json()["secret"]
    message = initialize()
    message["params"]["access_token"] = message["params"]["_meta"] = secret
    async with client_of(app) as client:
        for headers in (
            {"cookie": f"Authorization=Bearer {secret}"},
            {"x-api-key": secret},
            {"token": secret},
        ):
            answer = await client.post(
                f"/mcp?access_token={secret}&token={secret}", json=message, headers={**MCP, **headers}
            )
            assert answer.status_code == 401
            assert secret not in str(answer.headers) + answer.text
