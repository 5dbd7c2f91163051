"""Bodies say what they are written in, and paths say which methods they take."""

import httpx2
import pytest

from tests.contract.things import Things


@pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json; charset=utf-8"])
async def test_a_change_is_json_or_a_merge_patch(things: Things, media_type: str) -> None:
    path = await things.new_path("groups")
    body = b'{"description": "changed"}'
    answer = await things.api.patch(path, content=body, headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["description"]) == (200, "changed")


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "", "a", None])
async def test_what_does_not_say_that_it_is_json_is_not_read(
    api: httpx2.AsyncClient, media_type: str | None
) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    answer = await api.post("/api/v1/groups", content=b'{"name": "x"}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert answer.headers["Accept"] == "application/json"
    assert "application/json" in answer.json()["detail"]
    assert (await api.get("/api/v1/groups")).json()["items"] == []


async def test_a_compressed_body_is_not_read(api: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await api.post("/api/v1/groups", content=b'{"name": "x"}', headers=headers)
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "identity")
    assert (await api.get("/api/v1/groups")).json()["items"] == []


async def test_a_merge_patch_makes_nothing_new(things: Things) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    answer = await things.api.post("/api/v1/groups", content=b'{"name": "x"}', headers=headers)
    assert answer.status_code == 415
    path = await things.new_path("groups")
    answer = await things.api.patch(path, content=b"{}", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    assert answer.headers["Accept-Patch"] == "application/json, application/merge-patch+json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/servers", "GET, POST"),
        ("PUT", "/api/v1/groups/grp_01jdpnwz00e008000000000000", "DELETE, GET, PATCH"),
        ("GET", "/api/v1/tokens/tok_01jdpnwz00e008000000000000/revoke", "POST"),
        ("PUT", "/api/v1/tokens/bulk-revoke", "POST"),
        ("DELETE", "/livez", "GET"),
    ],
)
async def test_a_path_names_all_of_its_methods(
    api: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    answer = await api.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed
