"""Rotation gives the same token a new secret; the earlier one ends after the overlap."""

from datetime import UTC, datetime, timedelta

import pytest

from app.crypto.keys import Peppers
from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.lib.ids import TOKEN, parse_id
from tests.api import ApiAs
from tests.features.tokens.world import World, pointers

TOKENS = "/api/v1/tokens"


async def live_secrets(world: World) -> int:
    rows = await world.sql("SELECT 1 FROM token_secrets WHERE expires_at IS NULL OR expires_at > now()")
    return len(rows)


async def test_without_overlap_the_old_secret_is_over_at_once(world: World, peppers: Peppers) -> None:
    token = await world.issue(await world.person())
    answer = await world.api.post(f"{TOKENS}/{token['id']}/rotate", json={})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    rotated = answer.json()
    assert rotated["token"]["id"] == token["id"]
    assert rotated["token"]["overlap_until"] is None
    assert rotated["connect"]["url"].endswith("/mcp")
    credential = parse_credential(rotated["secret"], SCOPED_TOKEN)
    assert credential is not None
    assert credential.id == parse_id(TOKEN, token["id"])
    ((digest, key_id),) = await world.sql(
        "SELECT digest, pepper_key_id FROM token_secrets WHERE expires_at IS NULL OR expires_at > now()"
    )
    assert peppers.matches(key_id, digest, credential.digest_input)
    assert await world.version(parse_id(TOKEN, token["id"])) == 2
    assert await world.actions(parse_id(TOKEN, token["id"])) == ["token.issue", "token.rotate"]


async def test_an_overlap_is_shown_and_never_prolonged(world: World) -> None:
    token = await world.issue(await world.person())
    url = f"{TOKENS}/{token['id']}/rotate"
    until = (await world.api.post(url, json={"overlap_s": 600})).json()["token"]["overlap_until"]
    ahead = datetime.fromisoformat(until) - datetime.now(UTC)
    assert timedelta(seconds=500) < ahead <= timedelta(seconds=600)
    assert await live_secrets(world) == 2
    # The second rotation ends the middle secret later, and the first one at its own time.
    await world.api.post(url, json={"overlap_s": 86_400})
    ends = await world.sql("SELECT expires_at FROM token_secrets ORDER BY id")
    assert ends[0][0] == datetime.fromisoformat(until)
    assert ends[1][0] > ends[0][0]
    assert ends[2][0] is None
    # One without overlap ends all of them.
    await world.api.post(url, json={"overlap_s": 0})
    assert await live_secrets(world) == 1


@pytest.mark.parametrize("overlap", [-1, 86_401, "60", 1.5, True, None])
async def test_a_bad_overlap_is_named(world: World, overlap: object) -> None:
    token = await world.issue(await world.person())
    answer = await world.api.post(f"{TOKENS}/{token['id']}/rotate", json={"overlap_s": overlap})
    assert pointers(answer) == {"/overlap_s"}
    assert await live_secrets(world) == 1


async def test_rotating_needs_the_right_to_issue(world: World, api_as: ApiAs) -> None:
    token = await world.issue(await world.person())
    answer = await (await api_as("auditor")).post(f"{TOKENS}/{token['id']}/rotate", json={})
    assert answer.status_code == 403
