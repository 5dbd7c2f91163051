"""A provider as a sign-in needs it: one frozen value, read from its row."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args
from uuid import UUID

from pydantic import Field
from typing_extensions import TypeAliasType

from app.http.authorization import Role

_Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519",
]  # fmt: skip
SigningAlgorithm = TypeAliasType(
    "SigningAlgorithm",
    Annotated[_Algorithm, Field(description="How a token is signed (RFC 7518, RFC 8037).")],
)
"""The signature algorithms that can be configured. Never ``none`` or a shared secret (RFC 8725 section 3.1)."""
ALGORITHMS: tuple[str, ...] = get_args(_Algorithm)
DEFAULT_ALGORITHMS: tuple[SigningAlgorithm, ...] = ("RS256", "PS256", "ES256", "EdDSA")

AccessTokenType = TypeAliasType(
    "AccessTokenType",
    Annotated[
        Literal["at+jwt", "JWT", "none"],
        Field(description="The `typ` header of a token; `none` is a token without one."),
    ],
)
TOKEN_TYPES: dict[AccessTokenType, str] = {"at+jwt": "at+jwt", "JWT": "jwt", "none": ""}
"""The ``typ`` header for each configured name, in comparable form."""

DEFAULT_SCOPES = ("openid", "profile", "email")
"""The scopes that a browser sign-in requests."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Tokens with all of ``claims`` act as this service account."""

    service_account_id: UUID
    claims: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Provider:
    """An active issuer of access tokens (JWT).

    ``token_types`` are the accepted ``typ`` headers, without ``application/`` and in lower case; ``""`` accepts a token
    without one. ``role_claim`` and ``link_claim`` are the name of a claim, or a dotted path through objects. With an
    empty ``role_map`` no one gets a role. Browser sign-in needs a ``client_id``. ``people`` are values of the role
    claim whose holders become people without a role at their first sign-in. ``environment``: it is set by
    ``SCOPEGATE_OIDC_*``, and is the only such provider.
    """

    id: UUID
    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    token_types: tuple[str, ...] = ("at+jwt",)
    role_claim: str = "groups"
    role_map: Mapping[str, Role] = field(default_factory=dict)
    link_claim: str = "sub"
    workloads: tuple[Workload, ...] = ()
    name: str = ""
    client_id: str | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    environment: bool = False
    people: frozenset[str] = frozenset()
