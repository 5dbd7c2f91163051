"""The history of identities and servers starts with their state at the upgrade."""

import runpy
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import text

from tests.features.principals import Sessions, history, made, person, plain, server

MIGRATION = Path(__file__).parents[3] / "alembic/versions/0009_history_of_identities_and_servers.py"


async def test_each_state_of_a_server_that_decisions_read_is_kept_until_it_ends(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    made_one = await made(api, "servers", {"slug": "git", "url": "https://mcp.example.com/mcp"})
    path = f"/api/v1/servers/{made_one['id']}"
    for patch in ({"labels": {"env": "prod"}}, {"description": "of no consequence"}, {"status": "disabled"}):
        assert (await api.patch(path, json=patch)).status_code == 200
    state: dict[str, Any] = {"slug": "git", "status": "active", "labels": {}}
    labelled = state | {"labels": {"env": "prod"}}
    disabled = labelled | {"status": "disabled"}
    assert await history(sessions, "server") == [(state, False), (labelled, False), (disabled, True)]
    assert (await api.delete(path)).status_code == 204
    assert (await history(sessions, "server"))[-1] == (disabled, False)


async def test_an_upgrade_takes_todays_state_as_the_first_version_and_leaves_a_known_past_alone(
    api: httpx2.AsyncClient, sessions: Sessions
) -> None:
    await server(sessions)
    ada = await person(api)
    statements = runpy.run_path(str(MIGRATION))["STATEMENTS"]
    async with sessions() as session:
        await session.execute(text("DELETE FROM object_versions WHERE object_id = :id"), {"id": plain(ada)})
        for _ in range(2):
            for statement in statements:
                await session.execute(text(statement))
        await session.commit()
    kept = await history(sessions, "identity")
    first: dict[str, Any] = {"kind": "person", "status": "active", "owner_id": None, "attributes": {}}
    assert [one for one in kept if one == (first, True)] == kept
    assert len(kept) == 2, "the owner of the test and ada, once each"
    assert [(content["status"], current) for content, current in await history(sessions, "server")] == [
        ("active", True)
    ]
