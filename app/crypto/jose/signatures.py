"""Whether a key of a list's algorithms signed a token."""

from collections.abc import Collection, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact

from app.crypto.jose.keys import Algorithm, Key
from app.crypto.jose.token import MAX_CHARACTERS, Refused, Unverified


class _Registry(JWSRegistry):
    """The algorithms of the list and no other.

    joserfc takes an empty list for a default that has HS256 in it; here it allows nothing. And it warns of
    ``EdDSA``, which RFC 9864 deprecates for being vague, not weak: a choice of the provider's.
    """

    # Real headers and long keys' signatures pass joserfc's own limits; the whole token is limited already.
    max_header_length = max_signature_length = MAX_CHARACTERS

    def get_alg(self, name: str) -> Algorithm:
        if name not in (self.allowed or ()):
            raise Refused("its algorithm is not in the provider's list")
        return self.algorithms[name]


def algorithm_of(token: Unverified, algorithms: Collection[str]) -> Algorithm:
    """The one of these algorithms that the token names. Raises ``Refused``."""
    return _registry(algorithms).get_alg(header_text(token.header, "alg") or "")


def key_id_of(token: Unverified) -> str | None:
    """The name of the key that the token says it was signed with. Raises ``Refused`` for one that is no text."""
    return header_text(token.header, "kid")


def check_signature(token: Unverified, algorithms: Collection[str], key: Key) -> None:
    """The key signed the token, with one of these algorithms. Raises ``Refused``."""
    try:
        deserialize_compact(token.text, key, registry=_registry(algorithms))
    except (JoseError, ValueError) as error:
        raise Refused(f"its signature: {getattr(error, 'error', 'malformed')}") from None


def header_text(header: Mapping[str, Any], name: str) -> str | None:
    """A header that is text, or is not there. Raises ``Refused``."""
    value = header.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(f"the header {name} is not text")
    return value


def _registry(algorithms: Collection[str]) -> _Registry:
    # RFC 7515 section 4: headers that are not understood are ignored, unless they are critical.
    return _Registry(algorithms=list(algorithms), strict_check_header=False)
