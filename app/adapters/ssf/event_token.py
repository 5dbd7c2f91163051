"""Verification of event tokens (RFC 8417, SSF 1.0 section 4).

Cheap checks come first, so that an invalid token causes no fetch of keys. Nothing in a token is used, stored or
returned before its signature is verified.
"""

from app.crypto.jose.keys import ProviderKeys
from app.crypto.jose.signatures import algorithm_of, check_signature, key_id_of
from app.crypto.jose.token import Refused, Unverified, read_token
from app.domain.security_events import (
    SecurityEvent,
    Unreadable,
    happened_at,
    read_detail,
    read_event,
    read_subject,
    read_time,
)
from app.features.identity_providers.signals.streams import TransmitterSettings, Unacceptable
from app.features.identity_providers.signals.transmitters import Transmitter
from app.lib.strict_json import JsonObject

SKEW_S = 60
MEDIA_TYPE = "secevent+jwt"
_MAX_JTI_LENGTH = 255
# SSF 1.0 section 4.1: prevents confusion between event tokens and access or ID tokens.
_FORBIDDEN = frozenset({"sub", "exp"})


async def check_event_token(
    text: str, found: TransmitterSettings, keys: ProviderKeys[Transmitter], now: float
) -> SecurityEvent:
    """Verify an event token of the transmitter. Raises ``Unacceptable`` and ``Unavailable``."""
    try:
        token = read_token(text)
        _check_header(token)
    except Refused as refusal:
        raise Unacceptable("invalid_request", f"This is not an event token: {refusal.reason}.") from None
    try:
        algorithm, key_id = algorithm_of(token, found.algorithms), key_id_of(token)
    except Refused as refusal:
        raise Unacceptable("invalid_key", f"Its key is not acceptable: {refusal.reason}.") from None
    if token.claims.get("iss") != found.issuer:
        raise Unacceptable("invalid_issuer", "Its issuer is not the one of this stream.")
    _check_audience(token, found)
    event = _event(token, found.issuer, now)
    key = await keys.find(found.transmitter, key_id, algorithm)
    if key is None:
        raise Unacceptable("invalid_key", "It was signed with a key that its issuer does not publish.")
    try:
        check_signature(token, found.algorithms, key)
    except Refused:
        raise Unacceptable("authentication_failed", "Its signature is not valid.") from None
    return event


def _check_header(token: Unverified) -> None:
    """Check the type. Keys in the header are ignored, since an attacker can sign with their own key."""
    if "crit" in token.header:
        raise Refused("it has critical headers")
    kind = token.header.get("typ")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") != MEDIA_TYPE:
        raise Refused("its type is not secevent+jwt")


def _check_audience(token: Unverified, found: TransmitterSettings) -> None:
    said = token.claims.get("aud")
    audience = [said] if isinstance(said, str) else said
    if not isinstance(audience, list) or not all(isinstance(one, str) for one in audience):
        raise Unacceptable("invalid_audience", "Its audience is neither a text nor a list of texts.")
    if found.audiences.isdisjoint(one for one in audience if isinstance(one, str)):
        raise Unacceptable("invalid_audience", "Its audience is not this service.")


def _event(token: Unverified, issuer: str, now: float) -> SecurityEvent:
    try:
        return _read(token.claims, issuer, now)
    except Unreadable as error:
        raise Unacceptable("invalid_request", f"This is not an event token: {error.reason}.") from None


def _read(claims: JsonObject, issuer: str, now: float) -> SecurityEvent:
    if not _FORBIDDEN.isdisjoint(claims):
        raise Unreadable("it has a sub or an exp, which no event token has")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI_LENGTH or not jti.isprintable():
        raise Unreadable("its jti is no text, or too long")
    issued_at = read_time(claims.get("iat"), "its iat")
    if issued_at > now + SKEW_S:
        raise Unreadable("it is issued in the future")
    type, payload = read_event(claims.get("events"))
    return SecurityEvent(
        issuer=issuer,
        jti=jti,
        type=type,
        subject=read_subject(claims.get("sub_id")),
        happened_at=happened_at(payload, issued_at, now),
        detail=read_detail(type, payload),
    )
