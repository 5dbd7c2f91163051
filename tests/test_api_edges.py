"""What every request of the API meets before and after its handler."""

import time
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.requests import Request

from app.http.problems import MAX_ERRORS
from app.http.requests import check_repeats
from app.lib.ids import new_request_id
from app.main import Scopegate
from app.outbound.http import UpstreamError


async def test_a_body_over_the_limit_is_refused_declared_or_not(api: httpx2.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65_536

    for content in (b"x" * (1 << 20) + b"x", chunks()):
        answer = await api.post(
            "/api/v1/servers", content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "body_too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'"text"',
        b"null",
        b"[]",
        b'{"slug": "a", "name": "NUL \\u0000", "url": "http://127.0.0.1/"}',
        b'{"slug": "a", "name": "\\ud800", "url": "http://127.0.0.1/"}',
        b'{"slug": "a", "name": 7, "url": "http://127.0.0.1/"}',
        b'{"slug": "a", "name": "x", "url": "http://127.0.0.1/", "surprise": 1}',
        b"\xff\xfe",
        b'{"slug": "' + b"a" * 100_000 + b'"}',
        b"[" * 50_000,
    ],
)
async def test_bad_bodies_are_problems_that_name_the_mend(api: httpx2.AsyncClient, body: bytes) -> None:
    answer = await api.post("/api/v1/servers", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    problem = answer.json()
    assert problem["code"]
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert problem["detail"]


async def test_of_very_many_wrong_fields_the_first_are_named(api: httpx2.AsyncClient) -> None:
    answer = await api.post("/api/v1/groups", json={f"k{number}": 0 for number in range(5000)})
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == MAX_ERRORS
    assert len(answer.content) < 20_000
    twice = "&".join([f"k{number}=" for number in range(2500)] * 2)
    answer = await api.get("/api/v1/groups", params=twice)
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == MAX_ERRORS


def test_looking_for_repeats_costs_no_more_than_reading_the_query() -> None:
    """It happens before anybody is known. Ten times the parameters took a hundred times as long."""
    query = "&".join(f"k{number}=" for number in range(20_000)).encode()
    reading, looking = list[float](), list[float]()
    # The least of several: the garbage of other tests may be looked through in any of them.
    for _ in range(3):
        request = Request(
            {"type": "http", "method": "GET", "path": "/", "query_string": query, "headers": []}
        )
        began = time.process_time()
        request.query_params.multi_items()
        reading.append(time.process_time() - began)
        began = time.process_time()
        check_repeats(request, frozenset())
        looking.append(time.process_time() - began)
    assert min(looking) < 10 * min(reading)


async def test_a_good_request_id_is_echoed_and_a_bad_one_replaced(anonymous: httpx2.AsyncClient) -> None:
    kept = await anonymous.get("/livez", headers={"X-Request-ID": "portal-42"})
    assert kept.headers["X-Request-ID"] == "portal-42"
    ours = new_request_id()
    for asked in ("x" * 500, ours, ours.upper(), "req_1"):
        made = await anonymous.get("/livez", headers={"X-Request-ID": asked})
        assert made.headers["X-Request-ID"].startswith("req_")
        assert made.headers["X-Request-ID"] != asked


@pytest.mark.parametrize("path", ["/api/v1/servers/", "/oauth/token/", "/livez/"])
async def test_nobody_is_redirected_to_wherever_the_host_header_says(
    api: httpx2.AsyncClient, path: str
) -> None:
    for method in ("GET", "POST"):
        answer = await api.request(method, path, headers={"Host": "localhost"})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert "location" not in answer.headers


async def test_unknown_paths_and_methods_are_problems_too(api: httpx2.AsyncClient) -> None:
    missing = await api.get("/api/v1/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    method = await api.put("/api/v1/servers")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert method.headers["Allow"]


@pytest.mark.parametrize("cursor", ["x", "%00", "AAAA", "é"])
async def test_a_foreign_cursor_is_a_bad_request(api: httpx2.AsyncClient, cursor: str) -> None:
    answer = await api.get("/api/v1/servers", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_mismatch")


async def test_an_id_of_another_kind_is_named(api: httpx2.AsyncClient) -> None:
    answer = await api.get("/api/v1/servers/tok_01jbz8xkq2fxs8x6v0g5r3s9m1")
    assert answer.status_code == 422
    assert "srv_" in answer.text


async def test_readiness_warns_of_servers_that_do_not_answer_and_names_none(
    app: Scopegate, anonymous: httpx2.AsyncClient
) -> None:
    outbound = app.api.state.runtime.outbound
    target = outbound.policy.check_target("https://internal.example.com/secret")
    error = UpstreamError("connect", "", may_have_been_sent=False)
    for _ in range(5):
        outbound.breaker.failed(target, 1, error, asks=True)
    answer = await anonymous.get("/readyz")
    assert (answer.status_code, answer.json()["warnings"]) == (
        200,
        ["1 server does not answer at present; the log names them"],
    )


async def test_it_is_ready_when_the_database_records(anonymous: httpx2.AsyncClient) -> None:
    answer = await anonymous.get("/readyz")
    assert answer.status_code == 200, answer.text
    assert answer.json()["recording"] is True


async def test_a_parameter_that_is_given_twice_is_refused_unless_it_is_a_list(
    api: httpx2.AsyncClient,
) -> None:
    twice = await api.get("/api/v1/servers?q=a&q=b")
    assert (twice.status_code, twice.json()["errors"][0]["pointer"]) == (422, "?q")
    lists = await api.get("/api/v1/servers?status=active&status=disabled")
    assert lists.status_code == 200


@pytest.mark.parametrize("time", ["0.5", "1767225600", "2026-01-05", "now"])
async def test_a_time_in_a_query_is_written_out(api: httpx2.AsyncClient, time: str) -> None:
    answer = await api.get("/api/v1/servers", params={"created_before": time})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "?created_before")
