"""Whom a provider means: people that it knows, by its own words for them, and nobody else's.

What comes of a signal takes rights away and never gives any. So where a word fits several people of the provider, it
is taken to mean all of them: to spare the one who is meant would be worse.
"""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Invalid
from app.domain.security_events import ByAccount, ByEmail, ById, ByIssuer, Identifier, Subject
from app.features.identities.links import erased_link
from app.models.identity_providers import IdentityProvider

MOST_PEOPLE = 100
"""A word that fits more people than this means nobody in particular."""
_OIDC = "oidc"
_NAMED = ("signal", "scim")
# Who somebody is, is issuer and value, as at a sign-in: one that was ended and registered anew knows the same people.
_PROVIDERS = """
WITH provider AS (
    SELECT same.id FROM identity_providers asked JOIN identity_providers same ON same.id = asked.id
        OR (same.issuer = asked.issuer
            AND same.settings -> 'link_claim' IS NOT DISTINCT FROM asked.settings -> 'link_claim')
    WHERE asked.id = :provider
)
"""
# The condition on links is written as their unique index is, which would not serve another form.
_BY_LINK = text(f"""{_PROVIDERS}
SELECT link.identity_id FROM provider JOIN identity_links link
    ON coalesce(link.provider_id::text, '') = provider.id::text
    AND link.kind = ANY(:kinds) AND link.value = ANY(:values)
""")  # noqa: S608 - the one value is a constant of ours
_BY_EXTERNAL_ID = text(f"""{_PROVIDERS}
SELECT person.id FROM provider JOIN identities person
    ON person.provider_id = provider.id AND person.external_id = :external_id
LIMIT :most
""")  # noqa: S608
_BY_NAME = text(f"""{_PROVIDERS}
SELECT person.id FROM identities person
WHERE (lower(person.email) = lower(:name) OR lower(person.user_name) = lower(:name)) AND (
    person.provider_id IN (SELECT id FROM provider) OR EXISTS (
        SELECT 1 FROM identity_links link
        WHERE link.identity_id = person.id AND link.provider_id IN (SELECT id FROM provider)
    )
)
LIMIT :most
""")  # noqa: S608
_BY_SESSION = text(
    "SELECT identity_id FROM browser_sessions WHERE provider_id = :provider AND subject = :subject"
)


async def people_of(
    session: AsyncSession, provider: IdentityProvider, transmitter: str, subject: Subject
) -> list[UUID]:
    """The identities that a subject means, in the order of their ids; offboarded and erased ones among them.

    Raises ``Invalid`` for a word that fits more than a hundred.
    """
    found: set[UUID] = set()
    for identifier in subject.people:
        found |= await _people_of(session, provider, transmitter, identifier)
    if len(found) > MOST_PEOPLE:
        raise Invalid("Its subject fits too many people to be about any of them.")
    return sorted(found)


def session_ids(subject: Subject) -> list[str]:
    """What the provider calls the sessions that a subject means (``sid``)."""
    return [one.id for one in subject.sessions if isinstance(one, ById)]


async def _people_of(
    session: AsyncSession, provider: IdentityProvider, transmitter: str, identifier: Identifier
) -> set[UUID]:
    if isinstance(identifier, ByEmail):
        return await _by_name(session, provider, identifier.address)
    if isinstance(identifier, ByAccount):
        return await _by_name(session, provider, identifier.name)
    if isinstance(identifier, ById):
        return await _by_own_id(session, provider, identifier.id)
    found: set[UUID] = set()
    if identifier.issuer == provider.issuer:
        found |= await _by_sign_in(session, provider, identifier)
    if identifier.issuer == transmitter:
        found |= await _by_own_id(session, provider, identifier.subject)
    return found


async def _by_sign_in(session: AsyncSession, provider: IdentityProvider, identifier: ByIssuer) -> set[UUID]:
    """By the ``sub`` that they sign in with: of those whom another claim is known by, as far as they are signed in."""
    asked = {"provider": provider.id, "subject": identifier.subject}
    found = set(await session.scalars(_BY_SESSION, asked))
    if provider.settings.get("link_claim", "sub") == "sub":
        found |= await _by_link(session, provider, (_OIDC,), identifier.subject)
    return found


async def _by_own_id(session: AsyncSession, provider: IdentityProvider, id: str) -> set[UUID]:
    asked = {"provider": provider.id, "external_id": id, "most": MOST_PEOPLE + 1}
    return await _by_link(session, provider, _NAMED, id) | set(await session.scalars(_BY_EXTERNAL_ID, asked))


async def _by_link(
    session: AsyncSession, provider: IdentityProvider, kinds: Iterable[str], value: str
) -> set[UUID]:
    """An erased person is known by the digest that is left of the link."""
    kinds = list(kinds)
    values = [value, *(erased_link(kind, value) for kind in kinds)]
    asked = {"provider": provider.id, "kinds": kinds, "values": values}
    return set(await session.scalars(_BY_LINK, asked))


async def _by_name(session: AsyncSession, provider: IdentityProvider, name: str) -> set[UUID]:
    asked = {"provider": provider.id, "name": name, "most": MOST_PEOPLE + 1}
    return set(await session.scalars(_BY_NAME, asked))
