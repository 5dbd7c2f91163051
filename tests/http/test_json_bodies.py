"""Every operation reads JSON that has one meaning, and nothing else."""

import json
from typing import Any

import httpx2
import pytest

from app.http.requests import MAX_DEPTH
from app.lib.strict_json import MAX_INTEGER_DIGITS, MAX_VALUES

BAD: dict[str, tuple[str, bytes]] = {
    "a member twice": ("duplicate_key", b'{"name": "a", "name": "b"}'),
    "a member twice by an escape": ("duplicate_key", b'{"name": "a", "n\\u0061me": "b"}'),
    "a member twice within": ("duplicate_key", b'{"labels": {"env": "a", "env": "b"}}'),
    "a byte order mark": ("encoding", b"\xef\xbb\xbf{}"),
    "UTF-16": ("encoding", '{"name": "a"}'.encode("utf-16")),
    "UTF-16 without a mark": ("syntax", '{"name": "a"}'.encode("utf-16-le")),
    "UTF-32": ("encoding", '{"name": "a"}'.encode("utf-32")),
    "Latin-1": ("encoding", '{"name": "é"}'.encode("latin-1")),
    "half of a surrogate pair": ("string", b'{"name": "\\ud800"}'),
    "half of a surrogate pair in a name": ("string", b'{"\\udc00": 1}'),
    "NUL": ("string", b'{"name": "a\\u0000"}'),
    "NaN": ("number", b'{"limit": NaN}'),
    "Infinity": ("number", b'{"limit": -Infinity}'),
    "a float that overflows": ("number", b'{"limit": 1e400}'),
    "a huge integer": ("number", b'{"limit": ' + b"9" * (MAX_INTEGER_DIGITS + 1) + b"}"),
    "something after it": ("syntax", b"{} {}"),
    "a comment": ("syntax", b"{} // none"),
    "too deep": ("depth", b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}"),
    "far too deep": ("depth", b"[" * 200_000),
    "too many values": ("size", b"[" + b"1," * MAX_VALUES + b"1]"),
}


@pytest.mark.parametrize("name", BAD)
async def test_json_without_one_meaning_is_refused_in_words(api: httpx2.AsyncClient, name: str) -> None:
    code, body = BAD[name]
    answer = await api.post("/api/v1/groups", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["errors"][0]["code"]) == ("invalid_json", code)


async def test_every_operation_that_takes_json_refuses_a_duplicate_member(api: httpx2.AsyncClient) -> None:
    contract = (await api.get("/openapi.json")).json()
    taken: list[tuple[str, str, str]] = [
        (method, path, media_type)
        for path, item in contract["paths"].items()
        for method, operation in item.items()
        for media_type in _content(operation)
        if media_type.endswith("json")
    ]
    assert len(taken) > 50
    for method, path, media_type in taken:
        answer = await api.request(
            method,
            path.replace("{", "").replace("}", ""),
            content=b'{"scope": {"kind": "listed", "entries": []}, "scope": {"kind": "grants"}}',
            headers={"Content-Type": media_type, "If-Match": '"1"'},
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_json"), f"{method} {path}"


def _content(operation: dict[str, Any]) -> dict[str, Any]:
    body = operation.get("requestBody", {})
    assert "$ref" not in body, "follow it"
    return dict(body.get("content", {}))


async def test_json_at_the_bounds_is_read(api: httpx2.AsyncClient) -> None:
    deepest = b'{"surprise": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    for body in (
        deepest,
        b' {"surprise": 1}\r\n',
        json.dumps({"surprise": 10 ** (MAX_INTEGER_DIGITS - 1)}).encode(),
    ):
        answer = await api.post("/api/v1/groups", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, answer.text
