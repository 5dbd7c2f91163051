"""The how-to of offboarding a person: every command runs, and the leaver's credentials stop working."""

import asyncio
import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from tests.api import Account
from tests.conformance.fixture_server import fixture_app
from tests.gateway.messages import initialize, request
from tests.serving import listener
from tests.story.service import serving, whole_service
from tests.story.test_streams import both_eras

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "offboard.md"
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
MCP = {"accept": "application/json, text/event-stream"}


@pytest.mark.slow
async def test_the_offboarding_how_to_works(database_url: str, owner: Account, tmp_path: Path) -> None:
    async with whole_service(database_url, owner.bearer) as service:
        # The command is the one of this checkout, wherever it is.
        environment = {**os.environ, "URL": service.url, "BEARER": owner.bearer}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

        async def run(command: str, **values: str) -> str:
            for example, value in values.items():
                assert f"<{example}>" in command
                command = command.replace(f"<{example}>", value)
            process = await asyncio.create_subprocess_exec(
                "sh", "-euc", command, cwd=tmp_path, env=environment, stdout=asyncio.subprocess.PIPE
            )
            output, _ = await process.communicate()
            assert process.returncode == 0, command
            return output.decode()

        preview, offboard, schedule, pending, cancel, script, keep, verify = COMMANDS[:8]
        leavers = []
        for _ in range(2):
            number = f"E-{uuid4().hex[:8]}"
            person = {"kind": "person", "user_name": uuid4().hex, "external_id": number}
            leavers.append((number, await service.post("/identities", person)))
        (number, person), (other, _) = leavers
        heir = await service.post("/identities", {"kind": "person", "user_name": uuid4().hex})
        agent = {"kind": "agent", "user_name": uuid4().hex, "owner_id": person["id"]}
        agent = await service.post("/identities", agent)
        secrets = []
        for identity in (person, agent):
            order = {
                "identity_id": identity["id"],
                "name": "laptop",
                "scope": {"kind": "grants"},
                "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
            }
            secrets.append((await service.post("/tokens", order))["secret"])

        async def opened() -> list[int]:
            answers = [
                await service.api.post(
                    "/mcp", json=initialize(), headers={**MCP, "Authorization": f"Bearer {secret}"}
                )
                for secret in secrets
            ]
            return [answer.status_code for answer in answers]

        assert json.loads(await run(preview, number=number))["changed"] is True
        later = (datetime.now(UTC) + timedelta(days=30)).isoformat()
        scheduled = json.loads(await run(schedule, number=number, time=later))["scheduled"]
        assert [one["id"] for one in json.loads(await run(pending))["items"]] == [scheduled["id"]]
        assert json.loads(await run(cancel, scheduled=scheduled["id"]))["status"] == "cancelled"
        assert await opened() == [200, 200]

        done = json.loads(await run(offboard, number=number, heir=heir["id"]))
        assert (done["changed"], done["transferred"]["agents"]) == (True, [agent["id"]])
        assert await opened() == [401, 200]
        await run(keep, receipt=done["receipt_id"])
        assert f"receipt        {done['receipt_id']}" in await run(verify)

        await run(script)
        assert "scheduled for " in await run(f"./leaver.sh {other} {later.replace('+00:00', 'Z')}")
        receipt = await run(f"./leaver.sh {other}")
        assert receipt.startswith("evt_")
        assert await run(f"./leaver.sh {other}") == receipt
        with pytest.raises(AssertionError):
            await run("./leaver.sh unknown")


@pytest.mark.slow
async def test_the_streams_and_sessions_of_an_agent_end_when_its_owner_leaves(
    database_url: str, owner: Account
) -> None:
    with listener() as sock:
        async with (
            serving(fixture_app(), sock) as fixture,
            whole_service(database_url, owner.bearer) as service,
            asyncio.timeout(60),
        ):
            await service.register("fixture", f"{fixture}/mcp")
            person = await service.post("/identities", {"kind": "person", "user_name": uuid4().hex})
            agent = {"kind": "agent", "user_name": uuid4().hex, "owner_id": person["id"]}
            agent = await service.post("/identities", agent)
            rights = {"servers": {"kind": "all"}, "tools": {"kind": "all"}}
            await service.post("/grants", {"principal": {"type": "identity", "id": agent["id"]}, **rights})
            expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
            order = {"identity_id": agent["id"], "name": "job", "scope": {"kind": "grants"}}
            issued = await service.post("/tokens", order | {"expires_at": expires_at})
            headers = {**MCP, "authorization": f"Bearer {issued['secret']}"}
            async with (
                httpx2.AsyncClient(base_url=service.url, headers=headers, timeout=60) as client,
                both_eras(client) as (old, new, session),
            ):
                left = await service.api.post(
                    f"/api/v1/identities/{person['id']}/offboard", json={"reason": "left"}
                )
                assert left.json()["revoked"]["agents"] == [agent["id"]]
                assert await old.next() is None
                assert "withdrawn" in (await new.next())["error"]["message"]
                for path in ("/mcp", "/mcp/fixture"):
                    late = await client.post(path, json=request("tools/list"), headers=session)
                    assert late.status_code == 401
