"""Limits for a token, and for an identity with all its tokens: rate, concurrent requests, streams and time.

The state is in memory, because a flood of requests would overload a database first. Refused requests do not count
against a limit; the audit log counts them without a row for each.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil, inf
from time import monotonic
from typing import Self
from uuid import UUID

from app.admission.store import Store, View
from app.domain.objects import Token
from app.gateway.wire.exchange import Exchange
from app.gateway.wire.refusals import INVALID_REQUEST, RETRY_SOON, Refused
from app.outbound.http import Timeouts

WINDOW_S = 60.0
_FORGET_AT = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """Maximum numbers; 0 means no limit."""

    calls: int = 0
    """Requests per minute, which is also the burst."""
    concurrent: int = 0
    """Concurrent requests, including streams."""
    streams: int = 0
    """Open streams."""

    def share(self, workers: int) -> "Allowance":
        """Return the share of one worker."""
        parts = (
            max(1, limit // workers) if limit else 0 for limit in (self.calls, self.concurrent, self.streams)
        )
        return Allowance(*parts)


@dataclass(slots=True)
class _IdentityUsage:
    """Usage of an identity with all its tokens. At ``free_at``, the whole burst is available again."""

    free_at: float = 0.0
    open: int = 0

    def is_idle(self, now: float) -> bool:
        """Whether nothing is in use, so that the entry can be dropped."""
        return not self.open and self.free_at <= now


@dataclass(slots=True)
class Usage(_IdentityUsage):
    """Usage of a token, with that of its identity in ``shared``."""

    shared: _IdentityUsage = field(kw_only=True)


class CallLimits:
    """Rate and concurrency limits for requests of live tokens."""

    def __init__(self, store: Store, per_token: Allowance, per_identity: Allowance) -> None:
        self._store = store
        self._interval, self._burst, self._max_concurrent = _rate_parameters(per_token)
        self._shared_interval, self._shared_burst, self._shared_max_concurrent = _rate_parameters(
            per_identity
        )
        self._usages: dict[int, Usage] = {}
        self._shared: dict[int, _IdentityUsage] = {}
        self._forget_at = _FORGET_AT

    def enter(self, exchange: Exchange, view: View) -> Usage:
        """Count a request until ``leave``. Raises ``Refused`` (429)."""
        usage = self._usages.get(view.token.id.int) or self._new(view.token)
        shared, now = usage.shared, monotonic()
        if usage.free_at > now + self._burst or shared.free_at > now + self._shared_burst:
            raise self._too_fast(exchange, view, usage, now)
        if usage.open >= self._max_concurrent or shared.open >= self._shared_max_concurrent:
            raise self._too_many(exchange, view, usage)
        usage.free_at = max(usage.free_at, now) + self._interval
        shared.free_at = max(shared.free_at, now) + self._shared_interval
        usage.open += 1
        shared.open += 1
        return usage

    def charge(self, token: Token, calls: int) -> None:
        """Count requests to servers that a running request caused; they delay the next ones."""
        usage = self._usages[token.id.int]
        usage.free_at += calls * self._interval
        usage.shared.free_at += calls * self._shared_interval

    @staticmethod
    def leave(usage: Usage) -> None:
        """End a request."""
        usage.open -= 1
        usage.shared.open -= 1

    def _new(self, token: Token) -> Usage:
        if len(self._usages) >= self._forget_at:
            self._forget(monotonic())
        shared = self._shared.get(token.identity.id.int)
        if shared is None:
            shared = self._shared[token.identity.id.int] = _IdentityUsage()
        usage = self._usages[token.id.int] = Usage(shared=shared)
        return usage

    def _forget(self, now: float) -> None:
        """Drop idle tokens, and idle identities without an active token."""
        self._usages = {key: usage for key, usage in self._usages.items() if not usage.is_idle(now)}
        kept = {id(usage.shared) for usage in self._usages.values()}
        self._shared = {
            key: shared
            for key, shared in self._shared.items()
            if id(shared) in kept or not shared.is_idle(now)
        }
        self._forget_at = max(_FORGET_AT, 2 * len(self._usages))

    def _too_fast(self, exchange: Exchange, view: View, usage: Usage, now: float) -> Refused:
        self._store.count_refused(view, "rate_limited", exchange.client, exchange.request_id)
        wait, whose = usage.free_at - now - self._burst, "This token"
        if wait <= 0:
            wait, whose = usage.shared.free_at - now - self._shared_burst, "The identity of this token"
        seconds = max(1, ceil(wait))
        text = f"{whose} has reached its rate limit. Try again in {seconds} s."
        return Refused(429, INVALID_REQUEST, text, headers=((b"retry-after", str(seconds).encode()),))

    def _too_many(self, exchange: Exchange, view: View, usage: Usage) -> Refused:
        self._store.count_refused(view, "too_many_concurrent_requests", exchange.client, exchange.request_id)
        whose = "This token" if usage.open >= self._max_concurrent else "The identity of this token"
        text = f"{whose} has too many concurrent requests. Wait for one to end."
        return Refused(429, INVALID_REQUEST, text, headers=RETRY_SOON)


def _rate_parameters(allowed: Allowance) -> tuple[float, float, float]:
    """Return the seconds per call, the seconds of burst, and the maximum of concurrent requests."""
    each = WINDOW_S / allowed.calls if allowed.calls else 0.0
    return each, WINDOW_S - each, allowed.concurrent or inf


class OpenStreams:
    """The open streams of this worker, by token and identity."""

    def __init__(self, store: Store, per_token: Allowance, per_identity: Allowance) -> None:
        self._store = store
        self._per_token = per_token.streams
        self._per_identity = per_identity.streams
        self._open: Counter[UUID] = Counter()

    def open(self, exchange: Exchange, view: View) -> None:
        """Count a stream until ``close``. Call this before the decision. Raises ``Refused`` (429)."""
        token = view.token
        full = bool(self._per_token) and self._open[token.id] >= self._per_token
        if full or (self._per_identity and self._open[token.identity.id] >= self._per_identity):
            exchange.recorded = True
            self._store.count_refused(view, "too_many_streams", exchange.client, exchange.request_id)
            whose = "This token" if full else "The identity of this token"
            raise Refused(
                429, INVALID_REQUEST, f"{whose} has too many open streams. Close one.", headers=RETRY_SOON
            )
        self._open[token.id] += 1
        self._open[token.identity.id] += 1

    def close(self, view: View) -> None:
        """End a stream."""
        for id in (view.token.id, view.token.identity.id):
            self._open[id] -= 1
            if not self._open[id]:
                del self._open[id]

    @contextmanager
    def hold(self, exchange: Exchange, view: View) -> Iterator[None]:
        """Count a stream for the duration of a block. Raises ``Refused`` (429)."""
        self.open(exchange, view)
        try:
            yield
        finally:
            self.close(view)


_OPENING_S = 30.0
_CALL = Timeouts(first_byte=300.0, idle=300.0, total=3600.0)
_LISTEN = Timeouts(first_byte=_OPENING_S, idle=None, total=86_400.0)


@dataclass(frozen=True, slots=True)
class CallTimes:
    """Timeouts of upstream requests. Any bytes, such as comments, reset ``idle``; nothing extends ``total``."""

    call: Timeouts = _CALL
    listen: Timeouts = _LISTEN
    """For listening streams, which may be silent, so they have no ``idle``."""

    @classmethod
    def from_settings(cls, silence: timedelta, call: timedelta, stream: timedelta) -> Self:
        """Make the timeouts from the settings."""
        quiet = silence.total_seconds()
        return cls(
            Timeouts(first_byte=quiet, idle=quiet, total=call.total_seconds()),
            Timeouts(first_byte=min(quiet, _OPENING_S), idle=None, total=stream.total_seconds()),
        )
