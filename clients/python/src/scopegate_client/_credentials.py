"""The bearer of a client: a given one, or one of a service account that is renewed in time."""

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

# A bearer is renewed when less than this part of its lifetime is left.
_RENEW_AT = 0.1


@dataclass(frozen=True, slots=True)
class _Bearer:
    text: Secret
    renew_at: float


class BearerCache(Protocol):
    """Stores bearers of service accounts between clients, by the service's URL and the client id."""

    def load(self, url: str, client_id: str) -> tuple[Secret, float] | None:
        """Return the bearer and its expiry in seconds since 1970; None without a valid one."""

    def save(self, url: str, client_id: str, bearer: Secret, expires_at: float) -> None:
        """Store a bearer until it expires."""

    def remove(self, url: str, client_id: str) -> None:
        """Remove a bearer."""


class Credentials:
    """Manages the bearer of a client. Only one sign-in runs at a time: the drivers hold a lock around ``sign_in``, and
    callers that waited for it get its result or its error."""

    def __init__(self, settings: Settings, cache: BearerCache | None = None) -> None:
        self._url = settings.url
        self._given = settings.access_token
        self._account = settings.account
        self._cache = cache
        self._bearer = self._cached(settings.account)
        self._failure: ScopegateError | None = None
        self.flights = 0
        """The number of completed sign-ins, including failed ones."""

    @property
    def signs_in(self) -> bool:
        """Whether there is an account for signing in."""
        return self._account is not None

    def at_hand(self, refused: Secret | None = None) -> Secret | None:
        """Return the bearer if it is valid as far as known."""
        if self._account is None:
            return None if self._given is None else self._given()
        bearer = self._bearer
        if bearer is None or bearer.text == refused or time.monotonic() >= bearer.renew_at:
            return None
        return bearer.text

    def raise_failure_since(self, flights: int) -> None:
        """Raise the error of a sign-in that failed while this caller waited for it."""
        if self.flights != flights and self._failure is not None:
            raise copy.copy(self._failure) from self._failure

    def sign_in(self, http: Http, retries: int) -> Exchange[Secret]:
        """Sign in. The caller holds the lock."""
        if self._account is None:
            raise AssertionError("there is no account to sign in with")
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
        """The stored bearer of an earlier client."""
        kept = self._cache.load(self._url, account.client_id) if self._cache and account else None
        return _Bearer(kept[0], time.monotonic() + kept[1] - time.time()) if kept else None


def _trade(http: Http, account: ServiceAccount, retries: int) -> Exchange[_Bearer]:
    """Exchange the secret for a bearer (RFC 6749, section 4.4)."""
    call = create_access_token.call({"grant_type": "client_credentials"})
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
