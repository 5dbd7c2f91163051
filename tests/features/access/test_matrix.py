"""The matrix agrees with the list of an identity's access for each pair, and its cost is bounded."""

from typing import Any

import httpx2
import pytest

from app.access import reach as matrix
from app.http.authorization import Role
from app.lib.ids import IDENTITY, SERVER, format_id, new_id
from tests.api import ApiAs
from tests.features.access.test_effective_access import BY_RISK, Fleet, fleet, reached
from tests.features.principals import Json, agent, grant, group, person

__all__ = ["fleet"]
NOTHING = {"reached": False, "tools": 0, "approval_required": 0, "destructive": 0, "is_whole": True}


async def asked(api: httpx2.AsyncClient, identities: list[Json], servers: list[str]) -> list[Json]:
    """The rows of a matrix."""
    ids = [identity["id"] for identity in identities]
    answer = await api.get("/api/v1/access/matrix", params={"identity_id": ids, "server_id": servers})
    assert answer.status_code == 200, answer.text
    items: list[Json] = answer.json()["items"]
    return items


def cells(row: Json) -> dict[str, Json]:
    """The cells of a row, by server."""
    return {cell["server_id"]: {name: cell[name] for name in NOTHING} for cell in row["cells"]}


async def test_each_pair_has_the_number_of_what_the_list_of_access_names(
    api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ada, bea, cyd = await person(api), await person(api), await person(api)
    notes, books = fleet.ids["notes"], fleet.ids["books"]
    await grant(api, await group(api, ada), tools={"kind": "risk", "risk": ["read"]})
    await grant(api, ada, servers=fleet.only("notes"), tools={"kind": "names", "names": ["wipe"]})
    await grant(api, bea, servers=fleet.only("books"), tools={"kind": "names", "names": ["gone"]})
    rows = await asked(api, [cyd, ada, bea], [books, notes])
    assert [row["identity_id"] for row in rows] == [cyd["id"], ada["id"], bea["id"]]
    assert [[cell["server_id"] for cell in row["cells"]] for row in rows] == [[books, notes]] * 3
    none, some, empty = map(cells, rows)
    assert none == {books: NOTHING, notes: NOTHING}
    assert some == {
        books: NOTHING | {"reached": True, "tools": 1},
        notes: NOTHING | {"reached": True, "tools": 2, "destructive": 1},
    }
    assert empty == {books: NOTHING | {"reached": True}, notes: NOTHING}
    for identity, row in ((cyd, none), (ada, some), (bea, empty)):
        lists = await reached(api, identity)
        assert {id: cell["tools"] for id, cell in row.items() if cell["reached"]} == {
            id: len(tools) for id, tools in lists.items()
        }


async def test_what_a_policy_asks_or_denies_is_counted_so(api: httpx2.AsyncClient, fleet: Fleet) -> None:
    ada = await person(api)
    await grant(api, ada)
    only_calls = 'forbid (principal, action == Action::"call_tool", resource)'
    for text in (
        f'@require_approval("leads") {only_calls} when {{ resource.name == "wipe" }};',
        f'{only_calls} when {{ resource.name == "change" }};',
    ):
        body = {"name": f"p-{new_id().hex}", "text": text}
        made = await api.post("/api/v1/policies", json=body)
        assert made.status_code == 201, made.text
        tag = {"If-Match": made.headers["etag"]}
        published = await api.post(f"/api/v1/policies/{made.json()['id']}/publish", headers=tag)
        assert published.status_code == 200, published.text
    (row,) = await asked(api, [ada], [fleet.ids["notes"]])
    assert cells(row) == {
        fleet.ids["notes"]: {
            "reached": True,
            "tools": 2,
            "approval_required": 1,
            "destructive": 1,
            "is_whole": True,
        }
    }


async def test_a_row_says_what_stops_an_identity_and_nothing_of_what_there_is_not(
    api: httpx2.AsyncClient, fleet: Fleet
) -> None:
    ada = await person(api)
    bot = await agent(api, ada)
    await grant(api, bot)
    await grant(api, ada)
    assert (await api.post(f"/api/v1/identities/{ada['id']}/suspend")).status_code == 200
    gone = {"id": format_id(IDENTITY, new_id())}
    rows = await asked(api, [ada, gone, bot, ada], [format_id(SERVER, new_id()), fleet.ids["notes"]])
    assert [(row["identity_id"], row["stopped"]) for row in rows] == [
        (ada["id"], "identity_suspended"),
        (bot["id"], "owner_suspended"),
    ]
    assert [cells(row) for row in rows] == [{fleet.ids["notes"]: NOTHING}] * 2


async def test_a_large_matrix_looks_at_the_first_tools_and_says_so(
    api: httpx2.AsyncClient, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bea = await person(api), await person(api)
    await grant(api, ada)
    monkeypatch.setattr(matrix, "MAX_DECISIONS", 4 * (len(BY_RISK) - 1))
    both = [fleet.ids["notes"], fleet.ids["books"]]
    rows = await asked(api, [ada, bea], both)
    partial = NOTHING | {"reached": True, "tools": 2, "is_whole": False}
    assert [cells(row) for row in rows] == [dict.fromkeys(both, partial), dict.fromkeys(both, NOTHING)]
    (row,) = await asked(api, [ada], both)
    assert {cell["tools"] for cell in row["cells"]} == {len(BY_RISK)}
    assert all(cell["is_whole"] for cell in row["cells"])


@pytest.mark.parametrize(
    "query",
    [
        {"identity_id": "ada"},
        {"server_id": "notes"},
        {"identity_id": None},
        {"server_id": None},
        {"identity_id": [format_id(IDENTITY, new_id())] * (matrix.MAX_IDENTITIES + 1)},
        {"server_id": [format_id(SERVER, new_id())] * (matrix.MAX_SERVERS + 1)},
        {"limit": 5},
    ],
)
async def test_a_query_that_is_not_acceptable_is_422(api: httpx2.AsyncClient, query: dict[str, Any]) -> None:
    good = {"identity_id": format_id(IDENTITY, new_id()), "server_id": format_id(SERVER, new_id())}
    params = {name: value for name, value in (good | query).items() if value is not None}
    answer = await api.get("/api/v1/access/matrix", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_it_needs_the_permission_to_explain(api: httpx2.AsyncClient, api_as: ApiAs) -> None:
    params = {"identity_id": format_id(IDENTITY, new_id()), "server_id": format_id(SERVER, new_id())}
    for role in Role:
        answer = await (await api_as(role)).get("/api/v1/access/matrix", params=params)
        assert answer.status_code == (403 if role is Role.PROVISIONER else 200), role
