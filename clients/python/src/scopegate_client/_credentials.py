"""The bearer of a client: a given one, or one that a service account signs in for and renews in time."""

import base64
import copy
import time
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import httpx

from scopegate_client._answers import read_answer, read_refusal
from scopegate_client._exchange import Exchange, Http, Pause, Send, pause_before, unreachable
from scopegate_client._generated.api.oauth import create_access_token
from scopegate_client._settings import ServiceAccount, Settings
from scopegate_client.errors import RateLimited, ScopegateError, Unavailable
from scopegate_client.secret import Secret

# A bearer is renewed when less than this much of its life is left.
_RENEW_AT = 0.1


@dataclass(frozen=True, slots=True)
class _Bearer:
    text: Secret
    renew_at: float


class BearerCache(Protocol):
    """Keeps bearers of service accounts from one client to the next, by the service's URL and the client id."""

    def load(self, url: str, client_id: str) -> tuple[Secret, float] | None:
        """The bearer and when it expires, in seconds since 1970; None when there is no valid one."""

    def save(self, url: str, client_id: str, bearer: Secret, expires_at: float) -> None:
        """Keep a bearer until it expires."""

    def remove(self, url: str, client_id: str) -> None:
        """Forget a bearer."""


class Credentials:
    """Keeps the bearer of a client. At most one sign-in is under way at a time: the drivers hold a lock around
    ``sign_in``, and whoever waited for it takes what it brought, an error as well."""

    def __init__(self, settings: Settings, cache: BearerCache | None = None) -> None:
        self._url = settings.url
        self._given = settings.access_token
        self._account = settings.account
        self._cache = cache
        self._bearer = self._cached(settings.account)
        self._failure: ScopegateError | None = None
        self.flights = 0
        """How many sign-ins have ended, in whichever way."""

    @property
    def signs_in(self) -> bool:
        """Whether there is an account to sign in with."""
        return self._account is not None

    def at_hand(self, refused: Secret | None = None) -> Secret | None:
        """The bearer, if there is one that is good as far as we know."""
        if self._account is None:
            return None if self._given is None else self._given()
        bearer = self._bearer
        if bearer is None or bearer.text == refused or time.monotonic() >= bearer.renew_at:
            return None
        return bearer.text

    def raise_failure_since(self, flights: int) -> None:
        """Raise the error of a sign-in that ended while this caller waited for it."""
        if self.flights != flights and self._failure is not None:
            raise copy.copy(self._failure) from self._failure

    def sign_in(self, http: Http, retries: int) -> Exchange[Secret]:
        """Sign in. The caller holds the lock."""
        if self._account is None:
            raise AssertionError("nobody to sign in")
        if self._cache is not None:
            self._cache.remove(self._url, self._account.client_id)
        try:
            self._bearer = yield from _trade(http, self._account, retries)
        except ScopegateError as error:
            self._failure = error
            self.flights += 1
            raise
        self._failure = None
        self.flights += 1
        if self._cache is not None:
            left = self._bearer.renew_at - time.monotonic()
            self._cache.save(self._url, self._account.client_id, self._bearer.text, time.time() + left)
        return self._bearer.text

    def _cached(self, account: ServiceAccount | None) -> _Bearer | None:
        """The bearer that an earlier client has left."""
        kept = self._cache.load(self._url, account.client_id) if self._cache and account else None
        return _Bearer(kept[0], time.monotonic() + kept[1] - time.time()) if kept else None


def _trade(http: Http, account: ServiceAccount, retries: int) -> Exchange[_Bearer]:
    """Trade the secret for a bearer (RFC 6749, section 4.4)."""
    call = create_access_token.call(grant_type="client_credentials")
    pair = f"{quote(account.client_id, safe='')}:{quote(account.client_secret.reveal(), safe='')}"
    headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    attempt = 0
    while True:
        problem: Exception
        asked_at = time.monotonic()
        try:
            response: httpx.Response = yield Send(
                http.build_request(call.method, call.path, data=dict(call.form or {}), headers=headers)
            )
        except httpx.RequestError as error:
            problem = unreachable(error, http)
            again = True
        else:
            if response.is_success:
                answer = read_answer(call, response)
                return _Bearer(answer.access_token, asked_at + answer.expires_in * (1 - _RENEW_AT))
            problem = read_refusal(response, account.client_id)
            again = isinstance(problem, RateLimited | Unavailable)
        seconds = pause_before(attempt, problem) if again and attempt < retries else None
        if seconds is None:
            raise problem
        yield Pause(seconds)
        attempt += 1
