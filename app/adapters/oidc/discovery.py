"""What an OpenID provider publishes: where its keys are, and the keys. Fetched guarded, read strictly."""

import asyncio
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, OctKey
from joserfc.util import urlsafe_b64decode

from app.adapters.oidc.keys import Key, ProviderFault
from app.kit.outbound import (
    ForbiddenUrl,
    Origin,
    OutboundClient,
    Timeouts,
    UpstreamError,
    origin_of,
)
from app.kit.strict_json import JsonObject, StrictJsonError, loads

DISCOVERY_PATH = "/.well-known/openid-configuration"
_TIMEOUTS = Timeouts(connect=3.0, first_byte=5.0, idle=5.0, total=8.0)
_WITHIN_S = 10.0
_MOST_BYTES = 512 * 1024
_MOST_KEYS = 100
# Shorter ones are weak (NIST SP 800-131A); longer ones cost whoever has to check with them.
_RSA_BITS = range(2048, 8192 + 1)
# A secret part that somebody published by mistake is left where it is, and shared secrets are no key of ours.
_PUBLIC_PARTS = frozenset({"kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y"})


class Publications:
    """Fetches the keys of providers.

    Whoever registers a provider over the API names addresses that this service then connects to, so they are guarded
    like any upstream's. The provider of the environment is different: the operator of this service named it, often
    on a private network. ``own`` is a client that may go there, used for the origin ``own_origin`` and no other, and
    for an issuer of that origin: neither what that provider points to elsewhere nor another one that points there.
    """

    def __init__(
        self,
        guarded: OutboundClient,
        own: OutboundClient | None = None,
        own_origin: Origin | None = None,
    ) -> None:
        self._guarded = guarded
        self._own = own
        self._own_origin = own_origin

    async def keys_of(self, issuer: str) -> tuple[Key, ...]:
        """The keys that a provider signs with, those that we can use. Raises ``ProviderFault``."""
        try:
            async with asyncio.timeout(_WITHIN_S):
                document = await self._get(issuer, issuer.rstrip("/") + DISCOVERY_PATH)
                # OpenID Connect Discovery section 4.3: or one provider could speak for another.
                if document.get("issuer") != issuer:
                    raise ProviderFault("its discovery document names another issuer")
                published = await self._get(issuer, _keys_url(issuer, document))
        except TimeoutError:
            raise ProviderFault("it is too slow") from None
        except ForbiddenUrl as error:
            raise ProviderFault(error.reason) from None
        except UpstreamError as error:
            raise ProviderFault(error.message) from None
        return usable_keys(published.get("keys"))

    async def _get(self, issuer: str, url: str) -> JsonObject:
        own = self._own if origin_of(url) == origin_of(issuer) == self._own_origin else None
        client = own or self._guarded
        response = await client.request("GET", url, [(b"accept", b"application/json")], timeouts=_TIMEOUTS)
        body = await response.read(_MOST_BYTES) if response.status == 200 else b""
        response.close()
        if response.status != 200:
            raise ProviderFault(f"it answers {response.status}")
        try:
            document = loads(body)
        except StrictJsonError:
            raise ProviderFault("it does not answer with JSON") from None
        if not isinstance(document, dict):
            raise ProviderFault("it does not answer with a JSON object")
        return document


def usable_keys(entries: object) -> tuple[Key, ...]:
    """The keys of a set (RFC 7517) that can check a signature. Raises ``ProviderFault`` when it is no set."""
    if not isinstance(entries, list) or len(entries) > _MOST_KEYS:
        raise ProviderFault("its key set cannot be read")
    return tuple(key for entry in entries if (key := _import(entry)) is not None)


def _keys_url(issuer: str, document: JsonObject) -> str:
    url = document.get("jwks_uri")
    if not isinstance(url, str):
        raise ProviderFault("its discovery document names no keys")
    # Keys over plain HTTP are whoever's is on the way; a provider on loopback may have them on itself.
    if not url.startswith("https://") and origin_of(url) != origin_of(issuer):
        raise ProviderFault("its keys are not at an https address")
    return url


def _import(entry: object) -> Key | None:
    """One key of a set. RFC 7517 section 5: what is not understood is left out, the others serve."""
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
