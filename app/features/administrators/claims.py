"""Read the claims of a verified access token. They are untrusted JSON of any type.

A claim that is not valid names no holder and gives no role; nothing but a refusal is raised.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from app.domain.errors import Unauthenticated
from app.features.identities.schemas import Email, ExternalId
from app.features.identity_providers.schemas import Provider
from app.features.service_accounts.authenticate import unauthenticated
from app.http.authorization import Role
from app.http.schemas import MAX_NAME_LENGTH, Name, UserName

_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
# OpenID Connect allows a `sub` of 255 characters; what PostgreSQL cannot store is rejected here.
_LINK = TypeAdapter[str](ExternalId)
_NAME = TypeAdapter[str](Name)
_USER_NAME = TypeAdapter[str](UserName)
_EMAIL = TypeAdapter[str](Email)


class ClaimsMismatch(Unauthenticated):
    """A valid token whose claims do not match the provider's settings. The client sees the usual refusal; ``reason`` is
    for the person who sets the provider up, and quotes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(unauthenticated().detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a provider's token, and the roles that its claims give. With ``may_join`` they become a person here
    at their first sign-in, with a role or without."""

    link: str
    roles: frozenset[Role]
    issued_at: datetime
    may_join: bool = False


def read_holder(provider: Provider, claims: Mapping[str, Any]) -> Holder:
    """Read the holder from the claims. Raises ``ClaimsMismatch``."""
    link = _valid(_LINK, find_claim(claims, provider.link_claim))
    if link is None:
        raise ClaimsMismatch("the provider's link claim is missing or is not valid text")
    values = _claim_values(provider, claims)
    roles = frozenset(provider.role_map[value] for value in values if value in provider.role_map)
    joins = bool(roles) or not provider.people.isdisjoint(values)
    issued_at = claims.get("iat")
    if isinstance(issued_at, bool) or not isinstance(issued_at, int | float) or not 0 <= issued_at < _LATEST:
        raise ClaimsMismatch("its `iat` claim is not a valid time")
    # In whole seconds, which the database stores exactly.
    return Holder(link, roles, datetime.fromtimestamp(int(issued_at), UTC), joins)


def workload_account(provider: Provider, claims: Mapping[str, Any]) -> UUID | None:
    """The service account that a workload token acts as, or None for the token of a person.

    Raises ``ClaimsMismatch`` when two accounts match, and when none does and the provider has no people: anyone may
    hold a token of a public CI service.
    """
    accounts = {
        workload.service_account_id
        for workload in provider.workloads
        # Without a condition, every token of the issuer would match.
        if workload.claims and all(find_claim(claims, path) == text for path, text in workload.claims.items())
    }
    if len(accounts) == 1:
        return accounts.pop()
    if accounts:
        raise ClaimsMismatch("its claims match several service accounts")
    if provider.workloads and not provider.role_map and not provider.people:
        raise ClaimsMismatch("its claims match no service account, and its provider has no roles for people")
    return None


def find_claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name, or at this dotted path through objects; None when it is missing.

    Names contain dots themselves (``https://example.com/roles``, ``kubernetes.io``), so the longest matching name is
    followed, and no other is tried after it.
    """
    if path in claims:
        return claims[path]
    for end in range(len(path) - 1, 0, -1):
        if path[end] == "." and path[:end] in claims:
            inner = claims[path[:end]]
            return find_claim(inner, path[end + 1 :]) if isinstance(inner, Mapping) else None
    return None


def user_name_of(claims: Mapping[str, Any], link: str) -> str:
    """The best valid user name, in its stored form."""
    values = (claims.get("preferred_username"), claims.get("email"), link[:MAX_NAME_LENGTH])
    return next((name for value in values if (name := _valid(_USER_NAME, value))), "person")


def display_name_of(claims: Mapping[str, Any]) -> str | None:
    """The display name, if the token has a valid one."""
    return _valid(_NAME, claims.get("name"))


def email_of(claims: Mapping[str, Any]) -> str | None:
    """The email address, if the token has a valid one. It is only shown, never used to identify a person."""
    return _valid(_EMAIL, claims.get("email"))


def role_values(provider: Provider, claims: Mapping[str, Any]) -> list[str]:
    """The values of the role claim that give a role."""
    return [one for one in _claim_values(provider, claims) if one in provider.role_map]


def _claim_values(provider: Provider, claims: Mapping[str, Any]) -> list[str]:
    """The values of the role claim if it is a string or a list of strings only; otherwise none."""
    value = find_claim(claims, provider.role_claim)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        return []
    return values


def _valid(kind: TypeAdapter[str], value: Any) -> str | None:
    """The value in its stored form; None when it is not valid."""
    try:
        return kind.validate_python(value, strict=True)
    except ValidationError:
        return None
