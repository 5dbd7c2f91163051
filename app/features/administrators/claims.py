"""Reading what a verified access token says of its holder. A provider's claims are a stranger's JSON: of any type.

Whatever is not as it must be names nobody and gives nothing; it never raises anything but a refusal.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from app.domain.errors import Unauthenticated
from app.features.identities.schemas import Email, ExternalId
from app.features.identity_providers.provider import Provider
from app.features.service_accounts.authenticate import refused
from app.http.authorization import Role
from app.http.schemas import MAX_NAME_LENGTH, Name, UserName
from app.lib.names import comparable_name

_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()
# The 255 characters that OpenID Connect allows a `sub`; what PostgreSQL cannot take must not get that far.
_LINK = TypeAdapter[str](ExternalId)
_NAME = TypeAdapter[str](Name)
_USER_NAME = TypeAdapter[str](UserName)
_EMAIL = TypeAdapter[str](Email)


class NamesNobody(Unauthenticated):
    """A good token whose claims are not what the provider's settings expect. Whoever sends it sees any other refusal;
    ``reason`` is for whoever sets the provider up, and quotes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(refused().detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a token of a provider, and the roles that its claims give. ``may_join``: they become a person here at
    their first sign-in, with a role or without."""

    link: str
    roles: frozenset[Role]
    issued_at: datetime
    may_join: bool = False


def read_holder(provider: Provider, claims: Mapping[str, Any]) -> Holder:
    """The holder that the claims name. Raises ``NamesNobody``."""
    link = find_claim(claims, provider.link_claim)
    if not _fits(_LINK, link):
        raise NamesNobody("the provider's link claim is not in it, or no proper text")
    values = _claim_values(provider, claims)
    roles = frozenset(provider.role_map[value] for value in values if value in provider.role_map)
    joins = bool(roles) or not provider.people.isdisjoint(values)
    return Holder(str(link), roles, _issued_at(claims), joins)


def workload_account(provider: Provider, claims: Mapping[str, Any]) -> UUID | None:
    """The service account that a program's token acts as, None for a person's token.

    Raises ``NamesNobody`` when two accounts fit, and when none does with a provider that knows no people: half
    the world may hold a token of a public CI service.
    """
    accounts = {
        workload.service_account_id
        for workload in provider.workloads
        # Without a condition every token of the issuer would fit.
        if workload.claims and all(_holds(claims, *condition) for condition in workload.claims.items())
    }
    if len(accounts) == 1:
        return accounts.pop()
    if accounts:
        raise NamesNobody("its claims fit several service accounts")
    if provider.workloads and not provider.role_map and not provider.people:
        raise NamesNobody("its claims fit no service account, and its provider has no roles for people")
    return None


def find_claim(claims: Mapping[str, Any], path: str) -> Any:
    """The claim of this name, or at this path through objects with dots between; None when there is none.

    Names hold dots themselves (``https://example.com/roles``, ``kubernetes.io``), so the longest name that is there
    is the one that is followed, and no other is tried after it.
    """
    if path in claims:
        return claims[path]
    for end in range(len(path) - 1, 0, -1):
        if path[end] == "." and path[:end] in claims:
            inner = claims[path[:end]]
            return find_claim(inner, path[end + 1 :]) if isinstance(inner, Mapping) else None
    return None


def names_of(claims: Mapping[str, Any], link: str) -> Iterator[str]:
    """User names to try, the best first, as they are stored."""
    for value in (claims.get("preferred_username"), claims.get("email"), link[:MAX_NAME_LENGTH]):
        if _fits(_USER_NAME, value):
            yield comparable_name(str(value))
    yield "person"


def display_name_of(claims: Mapping[str, Any]) -> str | None:
    """The name that people go by, if the token has one that we take."""
    value = claims.get("name")
    return str(value) if _fits(_NAME, value) else None


def email_of(claims: Mapping[str, Any]) -> str | None:
    """The address, if the token has one that we take. It is shown, and never says who somebody is."""
    value = claims.get("email")
    return str(value) if _fits(_EMAIL, value) else None


def role_values(provider: Provider, claims: Mapping[str, Any]) -> list[str]:
    """Which values of the role claim give a role."""
    return [one for one in _claim_values(provider, claims) if one in provider.role_map]


def _claim_values(provider: Provider, claims: Mapping[str, Any]) -> list[str]:
    """The values of the role claim: of a string or a list of strings, of nothing else, a list with one number in it
    among it."""
    value = find_claim(claims, provider.role_claim)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        return []
    return values


def _issued_at(claims: Mapping[str, Any]) -> datetime:
    """When the token was issued, in whole seconds, so that the database keeps it exactly."""
    value = claims.get("iat")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise NamesNobody("its time of issue is no time")
    return datetime.fromtimestamp(int(value), UTC)


def _holds(claims: Mapping[str, Any], path: str, wanted: str) -> bool:
    value = find_claim(claims, path)
    return isinstance(value, str) and value == wanted


def _fits(kind: TypeAdapter[str], value: Any) -> bool:
    try:
        kind.validate_python(value, strict=True)
    except ValidationError:
        return False
    return True
