"""What else a provider signs for us: ID tokens, which say who signed in, and logout tokens, which say who signed out.

Both are for our client, where access tokens are for our API (OpenID Connect Core section 3.1.3.7, Back-Channel Logout
section 2.6). Neither may be taken for another: an ID token has the nonce of the sign-in that asked for it, a logout
token may have none.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

from app.adapters.oidc.checks import check_standing
from app.crypto.jose.keys import ProviderKeys
from app.crypto.jose.signatures import algorithm_of, check_signature, key_id_of
from app.crypto.jose.token import Refused, Unverified
from app.features.administrators.browser_sign_in import SignedOut
from app.features.identity_providers.provider import Provider

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_ID_TOKEN_TYPES = frozenset({"", "jwt"})
_LOGOUT_TYPES = frozenset({"", "jwt", "logout+jwt"})
_LONGEST = 1024
# A provider tells at once; one that is older is sent again by somebody.
_LOGOUT_SAID_WITHIN_S = 600
# The hash that an algorithm signs, by the end of its name; Ed25519 has one of its own.
_HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


async def check_signed(token: Unverified, provider: Provider, keys: ProviderKeys[str]) -> None:
    """The provider signed it, with an algorithm of its list. Raises ``Refused`` and ``Unavailable``."""
    key = await keys.find(provider.issuer, key_id_of(token), algorithm_of(token, provider.algorithms))
    if key is None:
        raise Refused("no key of the provider fits")
    check_signature(token, provider.algorithms, key)


def check_id_token(token: Unverified, provider: Provider, nonce: str, now: float) -> None:
    """It says who signed in, to us, in answer to the very attempt. Raises ``Refused``."""
    _check_kind(token, _ID_TOKEN_TYPES)
    check_standing(token, provider, _ours(provider), now)
    if token.claims.get("azp", provider.client_id) != provider.client_id:
        raise Refused("the ID token is for another client")
    audience, ours = token.claims["aud"], {provider.client_id, *provider.audiences}
    shared = isinstance(audience, list) and not ours.issuperset(map(str, audience))
    if shared and "azp" not in token.claims:
        raise Refused("the ID token is for others too, and does not say that it was given to us")
    if "events" in token.claims:
        raise Refused("it is a logout token")
    said = token.claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise Refused("the ID token is not of this sign-in")
    if text_of(token, "sub") is None:
        raise Refused("the ID token names nobody")


def check_belongs(id_token: Unverified, access_token: str, subject: object) -> None:
    """Both came of one sign-in: by the hash that the ID token has of the other, or else by their subject.

    Raises ``Refused``.
    """
    said = id_token.claims.get("at_hash")
    if said is None:
        if subject != id_token.claims["sub"]:
            raise Refused("the access token is somebody else's")
    elif not isinstance(said, str) or not hmac.compare_digest(
        said.encode(), _half_hash(id_token, access_token).encode()
    ):
        raise Refused("the access token is not the one that the ID token came with")


def check_logout_token(token: Unverified, provider: Provider, now: float) -> SignedOut:
    """Whom it signs out. Raises ``Refused``."""
    _check_kind(token, _LOGOUT_TYPES)
    # Some providers give it no end; its age is what counts here.
    claims = {"exp": now + 1, **token.claims}
    check_standing(Unverified(token.text, token.header, claims), provider, _ours(provider), now)
    events = token.claims.get("events")
    if not isinstance(events, dict) or LOGOUT_EVENT not in events or "nonce" in token.claims:
        raise Refused("it is no logout token")
    issued_at = token.claims["iat"]
    if not isinstance(issued_at, int | float) or now - issued_at > _LOGOUT_SAID_WITHIN_S:
        raise Refused("the logout token is old")
    subject, provider_session = text_of(token, "sub"), text_of(token, "sid")
    if subject is None and provider_session is None:
        raise Refused("the logout token names nobody")
    return SignedOut(provider.id, subject, provider_session, datetime.fromtimestamp(issued_at, UTC))


def text_of(token: Unverified, claim: str) -> str | None:
    """A claim that is a text which can be stored; None for any other."""
    value = token.claims.get(claim)
    if isinstance(value, str) and 0 < len(value) <= _LONGEST and value.isprintable():
        return value
    return None


def _ours(provider: Provider) -> tuple[str, ...]:
    return () if provider.client_id is None else (provider.client_id,)


def _check_kind(token: Unverified, types: frozenset[str]) -> None:
    kind = token.header.get("typ", "")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in types:
        raise Refused("it is a token of another type")
    if "crit" in token.header:
        raise Refused("it has critical headers")


def _half_hash(id_token: Unverified, access_token: str) -> str:
    algorithm = str(id_token.header["alg"])
    digest = _HASHES.get(algorithm[-3:], hashlib.sha512)(access_token.encode("ascii", "replace")).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
