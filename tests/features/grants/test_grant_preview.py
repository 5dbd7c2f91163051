"""A preview evaluates the current fleet with the same selectors as decisions."""

import httpx2
import pytest

from app.features.grants import schemas
from app.http.authorization import Role
from tests.api import ApiAs
from tests.features.access.test_unused_access import PROD, place, tool
from tests.features.principals import Json

PREVIEW = "/api/v1/grants/preview"
ALL: Json = {"kind": "all"}


async def previewed(api: httpx2.AsyncClient, servers: Json, tools: Json) -> Json:
    answer = await api.post(PREVIEW, json={"servers": servers, "tools": tools})
    assert answer.status_code == 200, answer.text
    shown: Json = answer.json()
    return shown


async def test_what_a_grant_would_reach_is_counted_by_risk_and_named(api: httpx2.AsyncClient) -> None:
    here = await place(api)
    await tool(api, here.notes, "drop_notes", "destructive")
    assert await previewed(api, PROD, {"kind": "risk", "risk": ["read", "destructive"]}) == {
        "reaches": {"servers": 2, "tools": 2},
        "warnings": [],
        "risks": {"read": 1, "write": 0, "destructive": 1, "unknown": 0},
        "servers": [
            {
                "server_id": here.billing["id"],
                "slug": "billing",
                "enabled": True,
                "tool_count": 0,
                "tools": [],
            },
            {
                "server_id": here.notes["id"],
                "slug": "notes",
                "enabled": True,
                "tool_count": 2,
                "tools": [
                    {"name": "drop_notes", "risk": "destructive"},
                    {"name": "read_note", "risk": "read"},
                ],
            },
        ],
    }
    one = {"kind": "ids", "ids": [here.billing["id"]]}
    assert (await previewed(api, one, ALL))["reaches"]["tools"] == 1
    assert (await previewed(api, ALL, {"kind": "names", "names": ["refund", "none"]}))["reaches"][
        "tools"
    ] == 1
    for nothing in ({"kind": "ids", "ids": []}, {"kind": "labels", "labels": {}}):
        assert (await previewed(api, nothing, ALL))["reaches"]["servers"] == 0


async def test_a_preview_names_so_many_and_counts_all(
    api: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemas, "_MAX_SHOWN", 1)
    await place(api)
    shown = await previewed(api, ALL, ALL)
    assert (*shown["reaches"].values(), len(shown["servers"])) == (2, 3, 1)
    assert (await previewed(api, {"kind": "labels", "labels": {"env": "prod"}}, ALL)) == shown


async def test_who_may_not_read_grants_is_told_nothing_of_what_they_would_reach(api_as: ApiAs) -> None:
    body = {"servers": ALL, "tools": ALL}
    for role, status in ((Role.AUDITOR, 200), (Role.PROVISIONER, 403)):
        assert (await (await api_as(role)).post(PREVIEW, json=body)).status_code == status
    bad = {"servers": {"kind": "every"}, "tools": ALL}
    assert (await (await api_as(Role.ADMIN)).post(PREVIEW, json=bad)).status_code == 422
