"""What is sent again, when, and with which key."""

import httpx
import pytest
from scopegate_client import Client
from scopegate_client._exchange import pause_before
from scopegate_client.errors import (
    Conflict,
    ConnectionFailed,
    NotFound,
    RateLimited,
    ServerFault,
    Unavailable,
)
from scripted_service import Answer, Service, group, problem


def test_a_read_is_repeated_when_the_connection_breaks(service: Service) -> None:
    service.answers = [httpx.ReadError("reset"), httpx.ReadTimeout("slow"), group()]
    with service.client() as client:
        assert client.groups.get("grp_1").name == "platform"
    assert len(service.pauses) == 2


def test_pauses_grow(service: Service) -> None:
    service.answers = [httpx.ReadError("reset")] * 5 + [group()]
    with service.client(retries=5) as client:
        client.groups.get("grp_1")
    for pause, longest in zip(service.pauses, [0.5, 1, 2, 4, 8], strict=True):
        assert longest / 2 <= pause <= longest


def test_clients_that_failed_together_do_not_come_back_together() -> None:
    assert len({pause_before(2, ConnectionFailed("reset")) for _ in range(20)}) > 1


def test_retry_after_is_waited_for(service: Service) -> None:
    service.answers = [problem(429, "rate_limited", **{"Retry-After": "7"}), group()]
    with service.client() as client:
        client.groups.get("grp_1")
    assert 7 <= service.pauses[0] <= 7.5


def test_retry_after_may_be_a_date(service: Service) -> None:
    service.answers = [
        problem(503, "unavailable", **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        group(),
    ]
    with service.client() as client:
        client.groups.get("grp_1")
    assert service.pauses[0] <= 0.5


def test_a_wait_that_is_too_long_is_left_to_the_caller(service: Service) -> None:
    service.answers = [problem(429, "rate_limited", **{"Retry-After": "3600"})]
    with service.client() as client, pytest.raises(RateLimited) as refused:
        client.groups.get("grp_1")
    assert refused.value.retry_after == 3600
    assert service.pauses == []


def test_a_create_is_repeated_with_its_one_key(service: Service) -> None:
    service.answers = [
        httpx.ReadError("reset"),
        problem(409, "idempotency_in_flight"),
        problem(503, "unavailable"),
        group(),
        group(),
    ]
    with service.client() as client:
        client.groups.create(name="platform")
        client.groups.create(name="platform")
    keys = [request.headers["Idempotency-Key"] for request in service.requests]
    assert len(set(keys[:4])) == 1, "one logical create, one key"
    assert keys[4] != keys[0], "another create, another key"


def test_the_callers_own_key_is_used(service: Service) -> None:
    service.answers = [group()]
    with service.client() as client:
        client.groups.create(name="platform", idempotency_key="order-4711")
    assert service.requests[0].headers["Idempotency-Key"] == "order-4711"


def rotate(client: Client) -> object:
    return client.tokens.rotate("tok_1")


def change(client: Client) -> object:
    return client.groups.update("grp_1", name="x")


@pytest.mark.parametrize("call", [rotate, change])
@pytest.mark.parametrize(
    "failure", [httpx.ReadError("reset"), httpx.ReadTimeout("slow"), httpx.WriteError("pipe")]
)
def test_what_may_have_happened_and_has_no_key_is_not_repeated(
    service: Service, failure: Exception, call: object
) -> None:
    service.answers = [failure]
    with service.client() as client, pytest.raises(ConnectionFailed):
        call(client)  # type: ignore[operator]


def test_a_503_of_what_has_no_key_is_not_repeated(service: Service) -> None:
    service.answers = [problem(503, "unavailable", **{"Retry-After": "1"})]
    with service.client() as client, pytest.raises(Unavailable):
        rotate(client)


@pytest.mark.parametrize("failure", [httpx.ReadError("reset"), httpx.Response(504, text="gateway")])
def test_a_delete_whose_answer_got_lost_has_happened(service: Service, failure: Answer) -> None:
    service.answers = [failure, problem(404, "not_found")]
    with service.client() as client:
        client.groups.delete("grp_1")


def test_a_delete_of_nothing_is_said_so(service: Service) -> None:
    service.answers = [httpx.ConnectError("refused"), problem(404, "not_found")]
    with service.client() as client, pytest.raises(NotFound):
        client.groups.delete("grp_1")


def test_what_was_turned_away_or_never_sent_is_repeated_in_any_case(service: Service) -> None:
    service.answers = [httpx.ConnectError("refused"), problem(429, "rate_limited"), group()]
    with service.client() as client:
        assert client.groups.update("grp_1", name="x").name == "platform"


def test_a_dry_run_changes_nothing_and_so_is_repeated(service: Service) -> None:
    service.answers = [httpx.ReadError("reset"), problem(404, "not_found")]
    with service.client() as client, pytest.raises(Exception, match="not_found"):
        client.tokens.revoke("tok_1", reason="lost", dry_run=True)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(problem(500, "internal_error"), ServerFault), (problem(409, "name_taken"), Conflict)],
)
def test_what_will_not_pass_is_not_repeated(
    service: Service, answer: httpx.Response, kind: type[Exception]
) -> None:
    service.answers = [answer]
    with service.client() as client, pytest.raises(kind):
        client.groups.create(name="platform")
    assert service.pauses == []


def test_retries_end(service: Service) -> None:
    service.answers = [httpx.ConnectError("refused")] * 3
    with (
        service.client(retries=2) as client,
        pytest.raises(ConnectionFailed, match="No connection to https://scope"),
    ):
        client.groups.get("grp_1")
    assert len(service.pauses) == 2


async def test_asyncio_repeats_alike(service: Service) -> None:
    service.answers = [
        httpx.ReadError("reset"),
        problem(429, "rate_limited", **{"Retry-After": "2"}),
        group(),
    ]
    async with service.async_client() as client:
        assert (await client.groups.create(name="platform")).name == "platform"
    assert len({request.headers["Idempotency-Key"] for request in service.requests}) == 1
    assert service.pauses[1] >= 2
