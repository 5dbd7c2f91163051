"""Verification of token signatures with a list of allowed algorithms."""

from collections.abc import Collection, Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact

from app.crypto.jose.keys import Algorithm, Key
from app.crypto.jose.token import MAX_CHARACTERS, Refused, Unverified


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
