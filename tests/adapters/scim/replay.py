"""Replaying what a directory is documented to send, and looking at what becomes of the people behind it.

A recording is a JSON file: ``headers`` that each request has, and ``steps``. Of a step, ``request`` is the method
and the path under ``/scim/v2``, ``body`` what is sent, ``status`` what the answer has to be (or one of several),
``answer`` the part of its body that the directory needs (``*`` is anything), ``absent`` what is not in it. ``keep``
names the object that was made: ``{name}`` stands for its id afterwards. ``members`` are the names of who is in the
group of the request. ``arms`` gives somebody tokens and an agent; after ``ends`` all that they were given is over,
and stays so; after ``lives`` none of it is.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2

from tests.features.principals import Json, agent, fresh, grant
from tests.gateway.messages import initialize
from tests.story.provisioning import SCIM_JSON

HERE = Path(__file__).parent / "replays"


@dataclass
class Armed:
    """What somebody was given: tokens with their secrets, and an agent."""

    tokens: dict[str, str] = field(default_factory=dict)
    agents: list[str] = field(default_factory=list)


class Replay:
    """One recording on one service."""

    def __init__(self, name: str, api: httpx2.AsyncClient, scim: httpx2.AsyncClient) -> None:
        """``api`` is an owner's client of the REST API, ``scim`` a directory's of everything."""
        recording = json.loads((HERE / f"{name}.json").read_text())
        self._steps: list[Json] = recording["steps"]
        self._api = api
        self._scim = scim
        self._scim.headers.update(recording["headers"])
        self._ids: dict[str, str] = {}
        self._armed: dict[str, Armed] = defaultdict(Armed)
        self._over: list[Armed] = []

    async def run(self) -> int:
        """All of its steps, in order; how many they were."""
        for step in self._steps:
            try:
                await self._step(step)
            except AssertionError as error:
                raise AssertionError(f"{step['say']}: {error}") from error
        for armed in self._over:
            await self._check_over(armed)
        return len(self._steps)

    async def _step(self, step: Json) -> None:
        method, _, path = self._filled(step["request"]).partition(" ")
        body = json.loads(self._filled(json.dumps(step["body"]))) if "body" in step else None
        content = None if body is None else json.dumps(body)
        answer = await self._scim.request(method, f"/scim/v2{path}", content=content)
        statuses = step["status"] if isinstance(step["status"], list) else [step["status"]]
        assert answer.status_code in statuses, f"{answer.status_code} {answer.text}"
        if answer.status_code == 204:
            assert answer.content == b""
        else:
            assert answer.headers["content-type"].partition(";")[0] == SCIM_JSON
            self._check_answer(step, answer.json())
        await self._check_people(step, path)

    def _check_answer(self, step: Json, said: Any) -> None:
        if "keep" in step:
            self._ids[step["keep"]] = said["id"]
        wanted = json.loads(self._filled(json.dumps(step.get("answer", {}))))
        assert holds(said, wanted), f"{said} does not hold {wanted}"
        assert [name for name in step.get("absent", []) if name in said] == []

    async def _check_people(self, step: Json, path: str) -> None:
        if "members" in step:
            id = self._ids[step["keep"]] if "keep" in step else path.removeprefix("/Groups/")
            listed = await self._api.get(f"/api/v1/groups/{id}/members")
            found = {member["identity_id"] for member in listed.json()["items"]}
            assert found == {self._ids[name] for name in step["members"]}
        if "arms" in step:
            await self._arm(self._ids[step["arms"]], self._armed[step["arms"]])
        if "lives" in step:
            for secret in self._armed[step["lives"]].tokens.values():
                assert await self._lets_in(secret)
        if "ends" in step:
            armed = self._armed.pop(step["ends"])
            assert armed.tokens
            await self._check_over(armed)
            self._over.append(armed)

    async def _arm(self, id: str, armed: Armed) -> None:
        helper = await agent(self._api, {"id": id})
        armed.agents.append(helper["id"])
        for holder in (id, helper["id"]):
            await grant(self._api, {"id": holder})
            body = {
                "identity_id": holder,
                "name": fresh("token"),
                "scope": {"kind": "grants"},
                "expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
            }
            issued = await self._api.post("/api/v1/tokens", json=body)
            assert issued.status_code == 201, issued.text
            armed.tokens[issued.json()["token"]["id"]] = issued.json()["secret"]
            assert await self._lets_in(issued.json()["secret"])

    async def _check_over(self, armed: Armed) -> None:
        for id, secret in armed.tokens.items():
            assert (await self._api.get(f"/api/v1/tokens/{id}")).json()["status"] == "revoked"
            assert not await self._lets_in(secret)
        for id in armed.agents:
            assert (await self._api.get(f"/api/v1/identities/{id}")).json()["status"] == "suspended"

    async def _lets_in(self, secret: str) -> bool:
        """Whether the gateway takes the token."""
        headers = {"Authorization": f"Bearer {secret}", "Accept": "application/json, text/event-stream"}
        answer = await self._api.post("/mcp", json=initialize(), headers=headers)
        assert answer.status_code in {200, 401}, answer.text
        return answer.status_code == 200

    def _filled(self, text: str) -> str:
        for name, id in self._ids.items():
            text = text.replace(f"{{{name}}}", id)
        return text


def holds(said: Any, wanted: Any) -> bool:
    """Whether a part is in the whole: objects may have more members, lists have the same elements in any order."""
    if wanted == "*":
        return said not in (None, "", [], {})
    if isinstance(wanted, dict):
        return isinstance(said, dict) and all(
            name in said and holds(said[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        left = list(said) if isinstance(said, list) else []
        for value in wanted:
            match = next((index for index, one in enumerate(left) if holds(one, value)), None)
            if match is None:
                return False
            left.pop(match)
        # What something is may be said of in more ways than one needs: its schemas, above all.
        return not left or all(isinstance(one, str) for one in left)
    return bool(said == wanted)
