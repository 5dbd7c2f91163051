"""One sign-in at a time, renewed in time, and errors that everybody who waited hears of."""

import asyncio
import base64
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from scopegate_client import Secret
from scopegate_client._credentials import Credentials
from scopegate_client.errors import SignInFailed, Unauthenticated, Unavailable
from scripted_service import Service, bearer, group, problem

MANY = 12


def refused() -> httpx.Response:
    """OAuth's own form of an error."""
    said = "The client is unknown or its secret is not valid."
    return httpx.Response(401, json={"error": "invalid_client", "error_description": said})


def used(service: Service) -> list[str]:
    """The bearers of the requests, in order."""
    return [request.headers["Authorization"].removeprefix("Bearer ") for request in service.requests]


def test_one_sign_in_serves_many_requests(service: Service) -> None:
    service.answers = [group(), group()]
    with service.client() as client:
        client.groups.get("grp_1")
        client.groups.get("grp_1")
    assert (service.signed_in, used(service)) == (1, ["sgb_1", "sgb_1"])


def test_the_secret_travels_in_http_basic_as_oauth_says(service: Service) -> None:
    seen: list[httpx.Request] = []

    def sign_in(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return bearer()

    service.sign_ins, service.answers = [sign_in], [group()]
    with service.client(client_id="sa_1", client_secret="a:b%+c") as client:
        client.groups.get("grp_1")
    [request] = seen
    pair = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode()
    assert pair == "sa_1:a%3Ab%25%2Bc"
    assert request.content == b"grant_type=client_credentials"


def test_a_bearer_is_renewed_before_it_ends(service: Service) -> None:
    service.sign_ins, service.answers = [bearer("sgb_old", expires_in=0)], [group(), group()]
    with service.client() as client:
        client.groups.get("grp_1")
        client.groups.get("grp_1")
    assert used(service) == ["sgb_old", "sgb_2"]


def test_a_bearer_that_was_ended_is_replaced_once(service: Service) -> None:
    service.answers = [problem(401, "unauthenticated"), group(), problem(401, "unauthenticated")]
    service.answers = [*service.answers, problem(401, "unauthenticated")]
    with service.client() as client:
        assert client.groups.update("grp_1", name="x").name == "platform"
        with pytest.raises(Unauthenticated):
            client.groups.get("grp_1")
    assert used(service) == ["sgb_1", "sgb_2", "sgb_2", "sgb_3"]
    assert service.pauses == []


def test_a_given_bearer_is_not_replaced(service: Service) -> None:
    service.answers = [problem(401, "unauthenticated")]
    with service.client(access_token="jwt") as client, pytest.raises(Unauthenticated):
        client.groups.get("grp_1")
    assert (service.signed_in, used(service)) == (0, ["jwt"])


def test_a_function_gives_the_bearer_of_the_moment(service: Service) -> None:
    given = iter(["jwt-1", "jwt-2", "jwt-3"])
    service.answers = [group(), problem(401, "unauthenticated"), group()]
    with service.client(access_token=lambda: next(given)) as client:
        client.groups.get("grp_1")
        client.groups.get("grp_1")
    assert used(service) == ["jwt-1", "jwt-2", "jwt-3"]


def test_a_refused_sign_in_says_who_and_why_and_not_the_secret(service: Service) -> None:
    service.sign_ins = [refused()]
    with (
        service.client() as client,
        pytest.raises(SignInFailed, match="sa_1 was refused: The client is") as failed,
    ):
        client.groups.get("grp_1")
    assert failed.value.code == "invalid_client"
    assert "sgc_s3cret" not in str(failed.value)


def test_a_sign_in_is_repeated_while_the_service_is_away(service: Service) -> None:
    away = httpx.Response(503, json={"error": "temporarily_unavailable"}, headers={"Retry-After": "3"})
    service.sign_ins = [httpx.ConnectError("refused"), away, bearer()]
    service.answers = [group()]
    with service.client() as client:
        client.groups.get("grp_1")
    assert service.pauses[1] >= 3


def test_a_service_that_stays_away_is_said_so(service: Service) -> None:
    service.sign_ins = [problem(503, "unavailable")]
    with service.client(retries=0) as client, pytest.raises(Unavailable):
        client.groups.get("grp_1")


def test_threads_that_ask_at_once_sign_in_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, all_looked = iter(range(MANY)), threading.Event()
    at_hand = Credentials.at_hand

    def look(credentials: Credentials, refused: Secret | None = None) -> Secret | None:
        found = at_hand(credentials, refused)
        if next(looked, MANY) == MANY - 1:
            all_looked.set()
        return found

    def sign_in(_: httpx.Request) -> httpx.Response:
        # Not before each thread has found that there is no bearer: all that keeps them from this is the lock.
        assert all_looked.wait(20)
        return bearer()

    monkeypatch.setattr(Credentials, "at_hand", look)
    service.sign_ins, service.answers = [sign_in], [group()] * MANY
    with service.client() as client, ThreadPoolExecutor(MANY) as threads:
        found = list(threads.map(lambda _: client.groups.get("grp_1").name, range(MANY)))
    assert found == ["platform"] * MANY
    assert service.signed_in == 1


async def test_tasks_that_ask_at_once_sign_in_once(service: Service) -> None:
    service.answers = [group() for _ in range(MANY)]
    async with service.async_client() as client:
        found = await asyncio.gather(*(client.groups.get("grp_1") for _ in range(MANY)))
    assert [one.name for one in found] == ["platform"] * MANY
    assert service.signed_in == 1


async def test_tasks_whose_bearer_ends_at_once_renew_it_once(service: Service) -> None:
    def first_is_refused(request: httpx.Request) -> httpx.Response:
        return (
            problem(401, "unauthenticated") if request.headers["Authorization"] == "Bearer sgb_1" else group()
        )

    service.answers = [first_is_refused] * 2 * MANY
    async with service.async_client() as client:
        await asyncio.gather(*(client.groups.get("grp_1") for _ in range(MANY)))
    assert service.signed_in == 2


async def test_tasks_that_waited_for_a_sign_in_share_its_failure(service: Service) -> None:
    service.sign_ins = [refused()]
    async with service.async_client() as client:
        asked = [client.groups.get("grp_1") for _ in range(MANY)]
        failed = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(error) for error in failed} == {SignInFailed}
    assert service.signed_in == 1


async def test_a_task_that_is_cancelled_while_it_signs_in_leaves_the_others_to_it(service: Service) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/oauth/token" and not begun.is_set():
                begun.set()
                await go_on.wait()
            return await service.answer_async(request)

    service.answers = [group()]
    async with asyncio.timeout(50), service.async_client() as client:
        client._http._transport = Slow()
        first = asyncio.create_task(client.groups.get("grp_1"))
        await begun.wait()
        second = asyncio.create_task(client.groups.get("grp_1"))
        first.cancel()
        go_on.set()
        assert (await second).name == "platform"
    assert first.cancelled()
    assert service.signed_in == 1
