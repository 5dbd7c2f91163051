"""Verification of tokens that providers sign: parsing, signatures and cached keys (RFC 7515, 7517, 8725)."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from joserfc.errors import JoseError
from joserfc.jwa import JWSAlgModel
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, deserialize_compact
from joserfc.util import urlsafe_b64decode

from app.domain.errors import Unavailable
from app.lib.strict_json import JsonObject, loads

MAX_CHARACTERS = 16 * 1024

_MAX_DEPTH = 16


class Refused(Exception):
    """The token is rejected. ``reason`` is only for our log; the caller's response does not depend on it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Unverified:
    """The header and claims of a token. Do not trust them until the signature has been verified."""

    text: str = field(repr=False)
    header: JsonObject = field(repr=False)
    claims: JsonObject = field(repr=False)


def read_token(text: str) -> Unverified:
    """Parse a compact JWS of two JSON objects (RFC 7515 section 7.1). Raises ``Refused``.

    The JSON must be strict, without duplicate members, so that the signer and we read the same claims.
    """
    if len(text) > MAX_CHARACTERS:
        raise Refused("too large")
    parts = text.split(".")
    if len(parts) != 3:
        raise Refused("not three parts")
    return Unverified(text, _object(parts[0]), _object(parts[1]))


def _object(part: str) -> JsonObject:
    try:
        value = loads(urlsafe_b64decode(part.encode("ascii")), max_depth=_MAX_DEPTH)
    except ValueError:
        raise Refused("not strict JSON in base64url") from None
    if not isinstance(value, dict):
        raise Refused("not a JSON object")
    return value


_log = logging.getLogger(__name__)


Algorithm = JWSAlgModel

Key = RSAKey | ECKey | OKPKey

Issuer = TypeVar("Issuer", bound=Hashable)
"""Identifies a provider, as by its issuer URL. ``str`` of it is its name in the log."""


REFRESH_S = 300.0
"""Keys are fetched again after this, so that a withdrawn key stops working."""

UNKNOWN_KEY_GAP_S = 60.0
"""The gap between two fetches that tokens with unknown keys cause, since anyone can send such tokens."""

RETRY_S = 5.0
"""The gap between two attempts while there are no keys at all."""

TRUST_FOR_S = 24 * 3600.0
"""How long keys are trusted while the provider is unreachable. It could have withdrawn them."""


class ProviderFault(Exception):
    """A provider did not carry out a request. ``reason`` says why and never quotes its answer. ``refused``: it answered
    with a refusal."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.refused = refused


@dataclass(slots=True)
class _IssuerKeys:
    """The cached keys of one issuer, and the state of their fetches."""

    keys: tuple[Key, ...] = ()
    fetched_at: float | None = None
    attempted_at: float | None = None
    asked_for_unknown_at: float | None = None
    fault: str | None = None
    fetching: asyncio.Task[None] | None = None


class ProviderKeys(Generic[Issuer]):
    """Finds the key of a token. Create it in the event loop that uses it; close it with ``aclose``."""

    def __init__(
        self,
        fetch: Callable[[Issuer], Awaitable[tuple[Key, ...]]],
        clock: Callable[[], float] = time.monotonic,
        *,
        description: str = "OpenID provider",
        impact: str = "no one can sign in with it",
    ) -> None:
        """For warnings, ``description`` says what the issuers are, and ``impact`` what fails without their keys."""
        self._fetch = fetch
        self._clock = clock
        self._description = description
        self._impact = impact
        self._issuers: dict[Issuer, _IssuerKeys] = {}

    async def find(self, issuer: Issuer, kid: str | None, algorithm: Algorithm) -> Key | None:
        """The issuer's key with this id that fits the algorithm; without an id, the only one that fits.

        Raises ``Unavailable`` when there are no keys because the provider is unreachable.
        """
        known = self._issuers.setdefault(issuer, _IssuerKeys())
        key = _choose(self._trusted(known), kid, algorithm)
        if key is None and self._may_fetch(known):
            if known.fetching is None and self._has_trusted(known):
                known.asked_for_unknown_at = self._clock()
            await self._refetch(issuer, known)
            key = _choose(self._trusted(known), kid, algorithm)
        if key is None and not self._has_trusted(known):
            raise Unavailable(
                f"The keys of your {self._description} cannot be fetched right now; repeat the request shortly.",
                retry_after_s=int(RETRY_S),
                code="provider_unavailable",
            )
        return key

    async def keep_fresh(self, issuers: Collection[Issuer]) -> None:
        """Fetch the keys of these issuers that are due, and forget all others. Failures are independent."""
        for issuer in [issuer for issuer in self._issuers if issuer not in issuers]:
            if self._issuers[issuer].fetching is None:
                del self._issuers[issuer]
        for issuer in issuers:
            self._issuers.setdefault(issuer, _IssuerKeys())
        due = [(issuer, known) for issuer, known in self._issuers.items() if self._is_due(known)]
        fetches = (self._refetch(issuer, known) for issuer, known in due)
        for unexpected in await asyncio.gather(*fetches, return_exceptions=True):
            if isinstance(unexpected, Exception):
                _log.error("fetching the keys of a provider failed: %s", type(unexpected).__name__)

    def warnings(self) -> list[str]:
        """Warnings about providers that are unreachable or have no usable keys.

        They are public, so only the log names the providers.
        """
        down = [known for known in self._issuers.values() if known.fault is not None]
        impact = [known for known in down if not self._has_trusted(known)]
        empty = [
            known
            for known in self._issuers.values()
            if known.fault is None and known.fetched_at is not None and not known.keys
        ]
        counted = (
            (len(down) - len(impact), "that cannot be asked for keys; the keys fetched before serve"),
            (len(impact), f"that cannot be asked for keys; {self._impact}"),
            (len(empty), "without a key that can be used"),
        )
        return [f"{self._description}: {count} {what}; the log names it" for count, what in counted if count]

    async def aclose(self) -> None:
        """Cancel all fetches."""
        tasks = [known.fetching for known in self._issuers.values() if known.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _has_trusted(self, known: _IssuerKeys) -> bool:
        return known.fetched_at is not None and self._clock() - known.fetched_at <= TRUST_FOR_S

    def _trusted(self, known: _IssuerKeys) -> tuple[Key, ...]:
        return known.keys if self._has_trusted(known) else ()

    def _may_fetch(self, known: _IssuerKeys) -> bool:
        if known.fetching is not None:
            return True
        if self._has_trusted(known):
            return self._is_past(known.asked_for_unknown_at, UNKNOWN_KEY_GAP_S)
        return self._is_past(known.attempted_at, RETRY_S)

    def _is_due(self, known: _IssuerKeys) -> bool:
        if known.fault is None:
            return self._is_past(known.attempted_at, REFRESH_S)
        gap = UNKNOWN_KEY_GAP_S if self._has_trusted(known) else RETRY_S
        return self._is_past(known.attempted_at, gap)

    def _is_past(self, then: float | None, gap: float) -> bool:
        return then is None or self._clock() - then >= gap

    async def _refetch(self, issuer: Issuer, known: _IssuerKeys) -> None:
        """Fetch, or wait for the running fetch. Cancelling one caller does not cancel the fetch."""
        if known.fetching is None:
            known.fetching = asyncio.create_task(self._fetch_into(issuer, known), name="provider keys")
        await asyncio.shield(known.fetching)

    async def _fetch_into(self, issuer: Issuer, known: _IssuerKeys) -> None:
        known.attempted_at = self._clock()
        try:
            known.keys = await self._fetch(issuer)
        except ProviderFault as fault:
            if known.fault != fault.reason:
                _log.warning(
                    "the %s %s cannot be asked for its keys: %s", self._description, issuer, fault.reason
                )
            known.fault = fault.reason
        else:
            if not known.keys:
                _log.warning("the %s %s publishes no key that can be used", self._description, issuer)
            known.fault, known.fetched_at = None, self._clock()
        finally:
            known.fetching = None


def _choose(keys: Sequence[Key], kid: str | None, algorithm: Algorithm) -> Key | None:
    named = [key for key in keys if kid is None or key.kid == kid]
    fitting = [key for key in named if _fits(key, algorithm)]
    if kid is None and len(fitting) > 1:
        return None
    return fitting[0] if fitting else None


def _fits(key: Key, algorithm: Algorithm) -> bool:
    """Whether the key has the algorithm's type and curve and is meant for verification."""
    try:
        algorithm.check_key(key)
        key.check_key_op("verify")
    except JoseError:
        return False
    return True


class _Registry(JWSRegistry):
    """Allows exactly the algorithms of the list.

    In joserfc, an empty list means a default that includes HS256; here it allows nothing. joserfc also warns about
    ``EdDSA``, which RFC 9864 deprecates as ambiguous, not as weak; here it is the provider's choice.
    """

    # Real headers and signatures of long keys exceed joserfc's limits; the size of the whole token is limited already.
    max_header_length = max_signature_length = MAX_CHARACTERS

    def get_alg(self, name: str) -> Algorithm:
        if name not in (self.allowed or ()):
            raise Refused("its algorithm is not in the provider's list")
        return self.algorithms[name]


def algorithm_of(token: Unverified, algorithms: Collection[str]) -> Algorithm:
    """The algorithm that the token names, if allowed. Raises ``Refused``."""
    return _registry(algorithms).get_alg(header_text(token.header, "alg") or "")


def key_id_of(token: Unverified) -> str | None:
    """The ``kid`` of the token. Raises ``Refused`` if it is not a string."""
    return header_text(token.header, "kid")


def check_signature(token: Unverified, algorithms: Collection[str], key: Key) -> None:
    """Check that the key signed the token with one of these algorithms. Raises ``Refused``."""
    try:
        deserialize_compact(token.text, key, registry=_registry(algorithms))
    except (JoseError, ValueError) as error:
        raise Refused(f"its signature: {getattr(error, 'error', 'malformed')}") from None


def header_text(header: Mapping[str, Any], name: str) -> str | None:
    """A header that is a string or absent. Raises ``Refused``."""
    value = header.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(f"the header {name} is not text")
    return value


def _registry(algorithms: Collection[str]) -> _Registry:
    # RFC 7515 section 4: unknown headers are ignored unless they are critical.
    return _Registry(algorithms=list(algorithms), strict_check_header=False)
