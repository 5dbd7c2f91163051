"""A path without parameters has its own methods, and never those of an object that its last word could name."""

import httpx2

from tests.contract.things import Things


async def test_a_method_that_a_fixed_path_does_not_have_is_a_405_that_lists_those_it_has(
    api: httpx2.AsyncClient,
) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    fixed = {path: {method.upper() for method in item} for path, item in paths.items() if "{" not in path}
    asked = 0
    for path, methods in fixed.items():
        if not path.startswith("/api/"):
            continue
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
            answer = await api.request(method, path, json={})
            assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed"), (
                f"{method} {path}"
            )
            assert set(answer.headers["Allow"].split(", ")) == methods, path
            asked += 1
    assert asked > 100


async def test_what_is_sent_is_looked_at_before_an_if_match_that_is_missing(things: Things) -> None:
    policy = await things.new_path("policies")
    wrong = await things.api.patch(policy, json={"text": 7})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/text")
    assert (await things.api.delete("/api/v1/policies/nothing")).status_code == 422
    for answer in (
        await things.api.patch(policy, json={"name": "Other"}),
        await things.api.delete(policy),
        await things.api.post(f"{policy}/publish", json={}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (428, "precondition_required"), answer.text


async def test_operations_that_need_no_bearer_say_so_and_all_others_say_which(
    api: httpx2.AsyncClient,
) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    open_ones = {
        path for path, item in paths.items() for operation in item.values() if operation["security"] == []
    }
    assert open_ones == {
        *("/.well-known/jwks.json", "/api/v1/break-glass", "/livez", "/oauth/token", "/readyz"),
    }
