"""The exchange of a call: sign-in, retries, errors. Written once, for threads and for asyncio.

An exchange is a generator. It yields what must be waited for, and is resumed with the result; the drivers
(`_drivers.py`) do the waiting.
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
MAX_PAUSE_S = 8.0
# A longer wait is the caller's decision: the error contains the time.
MAX_RETRY_AFTER_S = 60.0

_HEADER = re.compile(r"[!-~]{1,255}")

# Temporary errors, after which it is unknown whether the request was carried out.
_PASSING = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Send:
    """Send this; resume with the complete response, or throw the transport's error into the generator."""

    request: httpx.Request


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait; resume with None."""

    seconds: float


@dataclass(frozen=True, slots=True)
class NeedBearer:
    """Resume with a bearer, or with None without an account; ``refused`` is one that no longer works."""

    refused: Secret | None = None


Step = Send | Pause | NeedBearer
Http = httpx.Client | httpx.AsyncClient
Exchange = Generator[Step, Any, T]


def exchange(http: Http, call: Call[T], retries: int) -> Exchange[T]:
    """Send a call until there is a response to return or an error to raise."""
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
                # The earlier attempt succeeded, and its response was lost.
                return call.read(None)
            problem = read_problem(response)
            if response.status_code == 401 and bearer is not None and not renewed:
                # It was valid when the request was sent, but the service checks each time: another one may work.
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
    """The common idempotency key of all attempts, if the operation accepts one."""
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
                f"{name} must have 1 to 255 visible ASCII characters, and {value!r} does not."
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
    """Whether the same request may succeed later, and has not been carried out."""
    if not isinstance(problem, ApiError):
        return False
    if problem.status == 429:
        # Refused before anything was done, so any request may be repeated.
        return True
    if problem.code == "idempotency_in_flight":
        # The earlier attempt still runs; after it ends, the key returns its response.
        return True
    return call.repeatable and problem.status in _PASSING


def pause_before(attempt: int, problem: Exception) -> float | None:
    """The pause before the next attempt; None if it would be too long.

    Half of it is random, so that clients that failed together do not retry together.
    """
    backoff = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt)
    chance = random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing
    asked = problem.retry_after if isinstance(problem, ApiError) else None
    if asked is None:
        return backoff * chance
    return None if asked > MAX_RETRY_AFTER_S else asked + backoff * (chance - 0.5)


def unreachable(error: httpx.RequestError, http: Http) -> Exception:
    """Build the exception for an error of the transport, with one sentence."""
    where = str(http.base_url).rstrip("/")
    if isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
        return ConnectionFailed(f"No connection to {where} within the timeout.")
    if isinstance(error, httpx.TimeoutException):
        return ConnectionFailed(
            f"{where} did not respond within the timeout: the request may or may not have been carried out."
        )
    if isinstance(error, httpx.ConnectError):
        return ConnectionFailed(f"No connection to {where}: {error}.")
    if isinstance(error, httpx.DecodingError):
        return UnexpectedAnswer(f"The response of {where} cannot be decompressed: {error}.")
    return ConnectionFailed(f"The connection to {where} broke: {str(error) or type(error).__name__}.")
