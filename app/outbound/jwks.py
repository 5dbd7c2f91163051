"""Fetching and parsing of providers' metadata and key sets."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, OctKey
from joserfc.util import urlsafe_b64decode

from app.crypto.jwt import Key, ProviderFault
from app.lib.strict_json import JsonObject, StrictJsonError, loads
from app.outbound.http import ForbiddenUrl, OutboundClient, Timeouts, UpstreamError, origin_of

TIMEOUTS = Timeouts(connect=3.0, first_byte=5.0, idle=5.0, total=8.0)
_WITHIN_S = 10.0
_MAX_BYTES = 512 * 1024
_MAX_KEYS = 100
# Shorter keys are weak (NIST SP 800-131A); longer ones make verification expensive.
_RSA_BITS = range(2048, 8192 + 1)
# Private parts that were published by mistake are ignored; shared secrets are never used.
_PUBLIC_PARTS = frozenset({"kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y"})
_T = TypeVar("_T")


async def ask_provider(asking: Awaitable[_T], within_s: float = _WITHIN_S) -> _T:
    """Await a request to a provider. Raises ``ProviderFault`` when it fails or takes too long."""
    try:
        async with asyncio.timeout(within_s):
            return await asking
    except TimeoutError:
        raise ProviderFault("it is too slow") from None
    except ForbiddenUrl as error:
        raise ProviderFault(error.reason) from None
    except UpstreamError as error:
        raise ProviderFault(error.message) from None


async def request_object(
    client: OutboundClient,
    method: str,
    url: str,
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
) -> JsonObject:
    """Request a JSON object. Raises ``ProviderFault`` and ``UpstreamError``."""
    headers = [(b"accept", b"application/json"), *headers]
    response = await client.request(method, url, headers, body, timeouts=TIMEOUTS)
    good = response.status == 200
    content = await response.read(_MAX_BYTES) if good else b""
    response.close()
    if not good:
        raise ProviderFault(f"it answers {response.status}")
    try:
        document = loads(content)
    except StrictJsonError:
        raise ProviderFault("it does not answer with JSON") from None
    if not isinstance(document, dict):
        raise ProviderFault("it does not answer with a JSON object")
    return document


def usable_keys(entries: object) -> tuple[Key, ...]:
    """The keys of a set (RFC 7517) that can verify signatures. Raises ``ProviderFault`` if it is not a key set."""
    if not isinstance(entries, list) or len(entries) > _MAX_KEYS:
        raise ProviderFault("its key set cannot be read")
    return tuple(key for entry in entries if (key := _import_key(entry)) is not None)


def safe_url(issuer: str, document: JsonObject, name: str) -> str | None:
    """The URL of this name in a provider's metadata, if any. Raises ``ProviderFault`` for one that is not safe.

    Plain HTTP would let an attacker on the path replace what is fetched; a provider on loopback may use it.
    """
    url = document.get(name)
    if url is None or (isinstance(url, str) and is_safe(issuer, url)):
        return url
    raise ProviderFault(f"its {name} is not at an https address")


def is_safe(issuer: str, url: str) -> bool:
    """Whether a URL uses TLS or has the origin of its issuer, which without TLS is on loopback."""
    try:
        origin = origin_of(url)
    except ForbiddenUrl:
        return False
    return url.isascii() and (origin.scheme == "https" or origin == origin_of(issuer))


def _import_key(entry: object) -> Key | None:
    """Import one key of a set; ``None`` for an unsupported key, which is ignored (RFC 7517 section 5)."""
    if not isinstance(entry, dict):
        return None
    public: Mapping[str, Any] = {name: value for name, value in entry.items() if name in _PUBLIC_PARTS}
    try:
        if public["kty"] == "RSA" and _bits(public["n"]) not in _RSA_BITS:
            return None
        key = JWKRegistry.import_key(dict(public))
    except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
        return None
    return None if isinstance(key, OctKey) else key


def _bits(number: str) -> int:
    return int.from_bytes(urlsafe_b64decode(number.encode("ascii"))).bit_length()
