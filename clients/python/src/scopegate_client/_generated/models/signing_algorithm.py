from typing import Literal, cast

SigningAlgorithm = Literal[
    "Ed25519", "EdDSA", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"
]


def check_signing_algorithm(value: str) -> SigningAlgorithm:
    """A newer service may know more values than these: they come through as they are."""
    return cast(SigningAlgorithm, value)
