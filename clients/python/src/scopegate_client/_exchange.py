"""How a call becomes an answer: sign-in, retries, errors. Written once, for threads and for asyncio.

An exchange is a generator. It yields what has to be waited for and is resumed with what came of it; the drivers
(`_drivers.py`) do the waiting, each in its own way.
"""

import random
import re
import uuid
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from scopegate_client._answers import read_answer, read_problem
from scopegate_client._call import Call, encode, sent_query
from scopegate_client.errors import ApiError, ConnectionFailed, InvalidArgument, UnexpectedAnswer
from scopegate_client.secret import Secret

T = TypeVar("T")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
# Longer than this is for the caller to decide: the error says how long it would take.
LONGEST_RETRY_AFTER_S = 60.0

_HEADER = re.compile(r"[!-~]{1,255}")

# These pass by themselves. Whether the request was carried out, nobody knows.
_PASSING = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; resume with the whole response, or throw the transport's error in."""

    request: httpx.Request


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; resume with nothing."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NeedBearer:
    """Resume with a bearer, or with None when nobody signs in; ``refused`` is one that no longer works."""

    refused: Secret | None = None


Step = Send | Pause | NeedBearer
Http = httpx.Client | httpx.AsyncClient
Exchange = Generator[Step, Any, T]


def exchange(http: Http, call: Call[T], retries: int) -> Exchange[T]:
    """Send a call until there is an answer to give or an error to raise."""
    key = _key_of(call)
    bearer: Secret | None = (yield NeedBearer()) if call.signed else None
    renewed = False
    lost = False
    attempt = 0
    while True:
        problem: Exception
        try:
            response: httpx.Response = yield Send(_request(http, call, key, bearer))
        except httpx.RequestError as error:
            problem = unreachable(error, http)
            never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
            again = call.repeatable or never_sent
            lost = lost or not never_sent
        else:
            if response.is_success:
                return read_answer(call, response)
            if response.status_code == 404 and lost and call.ends_quietly:
                # The earlier attempt did it, and its answer got lost.
                return call.read(None)
            problem = read_problem(response)
            if response.status_code == 401 and bearer is not None and not renewed:
                # It was good when the request left; the service looks each time, so another may do.
                renewed = True
                fresh: Secret | None = yield NeedBearer(refused=bearer)
                if fresh is not None and fresh != bearer:
                    bearer = fresh
                    continue
            again = _worth_repeating(call, problem)
            lost = lost or response.status_code in _PASSING
        if not again or attempt >= retries:
            raise problem
        seconds = pause_before(attempt, problem)
        if seconds is None:
            raise problem
        yield Pause(seconds)
        attempt += 1


def _key_of(call: Call[Any]) -> str | None:
    """The one idempotency key of all attempts, where the operation takes one."""
    if call.idempotency_key is None and call.takes_key:
        return str(uuid.uuid4())
    return call.idempotency_key


def _request(http: Http, call: Call[Any], key: str | None, bearer: Secret | None) -> httpx.Request:
    headers = {name: value for name, value in call.headers.items() if value is not None}
    if key is not None:
        headers["Idempotency-Key"] = key
    for name, value in headers.items():
        if not _HEADER.fullmatch(value):
            raise InvalidArgument(
                f"{name} takes 1 to 255 visible ASCII characters, and {value!r} is something else."
            )
    if bearer is not None:
        headers["Authorization"] = f"Bearer {bearer.reveal()}"
    return http.build_request(
        call.method,
        call.path,
        params=sent_query(call.query) or None,
        json=call.json,
        data=None if call.form is None else {name: encode(call.form[name], name) for name in call.form},
        headers=headers,
    )


def _worth_repeating(call: Call[Any], problem: Exception) -> bool:
    """Whether the same request may well succeed in a moment, without having happened already."""
    if not isinstance(problem, ApiError):
        return False
    if problem.status == 429:
        # Turned away before anything was done, so even what may not be repeated may be sent again.
        return True
    if problem.code == "idempotency_in_flight":
        # Our own earlier attempt, whose answer got lost: once it is through, the key brings its answer.
        return True
    return call.repeatable and problem.status in _PASSING


def pause_before(attempt: int, problem: Exception) -> float | None:
    """How long to wait before the next attempt; None: too long to wait here.

    The half of it is chance, so that clients which failed together do not come back together.
    """
    backoff = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt)
    chance = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
    asked = problem.retry_after if isinstance(problem, ApiError) else None
    if asked is None:
        return backoff * chance
    return None if asked > LONGEST_RETRY_AFTER_S else asked + backoff * (chance - 0.5)


def unreachable(error: httpx.RequestError, http: Http) -> Exception:
    """Say in one sentence what the transport says in several languages."""
    where = str(http.base_url).rstrip("/")
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return ConnectionFailed(f"No connection to {where} within the timeout.")
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(
            f"{where} did not answer within the timeout: it may or may not have done what was asked."
        )
    if isinstance(error, httpx.ConnectError):
        return ConnectionFailed(f"No connection to {where}: {error}.")
    if isinstance(error, httpx.DecodingError):
        return UnexpectedAnswer(f"The answer of {where} cannot be unpacked: {error}.")
    return ConnectionFailed(f"The connection to {where} broke: {str(error) or type(error).__name__}.")
