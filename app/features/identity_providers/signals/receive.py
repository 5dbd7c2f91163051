"""Taking an event: remembered, carried out and on record in one transaction, so that it is done once or not at all.

Whom a provider means: people that it knows, by its own words for them, and nobody else's.

What comes of a signal takes rights away and never gives any. So where a word fits several people of the provider, it
is taken to mean all of them: to spare the one who is meant would be worse.

What follows from an event: rights end, in the transaction that remembers it. Nothing is ever given back by one.

Locks are taken in the one order: identities by id, then tokens by id. Whoever issues a token holds its identity, so a
token is issued before and found here, or issued after what happened.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.signing import Signer
from app.domain.errors import Invalid
from app.domain.security_events import (
    ByAccount,
    ByEmail,
    ById,
    ByIssuer,
    EventType,
    Identifier,
    SecurityEvent,
    Subject,
)
from app.features.audit.record import record, record_each
from app.features.identities import offboard as offboard_queries
from app.features.identities.offboard import offboard_identity
from app.features.identities.queries import erased_link, take_turns
from app.features.identities.schemas import Offboard
from app.features.identity_providers.signals import queries
from app.features.identity_providers.signals.streams import (
    ErrorCode,
    Unacceptable,
    note_status,
    note_verification,
)
from app.features.tokens import queries as token_queries
from app.features.tokens.service import revoke_tokens
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.lib.ids import EVENT, IDENTITY, IDENTITY_PROVIDER, TOKEN, format_id, new_id
from app.models.administrators import BrowserSession
from app.models.identities import Identity
from app.models.identity_providers import IdentityProvider
from app.models.signals import SignalEvent
from app.models.tokens import Token

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


SKEW = timedelta(minutes=1)
"""The transmitter's clock may be so far behind ours: what began this long after an event ends with it too."""
_ENDING = frozenset({"revoke", "delete"})
_OFFBOARDING = {
    EventType.ACCOUNT_DISABLED: "the account was disabled, says the identity provider",
    EventType.ACCOUNT_PURGED: "the account was deleted, says the identity provider",
}
_REASONS = {
    EventType.SESSION_REVOKED: "the session was revoked, says the identity provider",
    EventType.CREDENTIAL_CHANGE: "a credential was revoked, says the identity provider",
    EventType.CREDENTIAL_COMPROMISE: "a credential was compromised, says the identity provider",
}
_NOTHING_FOLLOWS = frozenset({EventType.ACCOUNT_ENABLED})


@dataclass(slots=True)
class Effects:
    """What came of an event. ``ignored`` says why nothing did, or could."""

    identities: list[UUID] = field(default_factory=list)
    tokens: list[UUID] = field(default_factory=list)
    sessions: list[UUID] = field(default_factory=list)
    offboarded: list[UUID] = field(default_factory=list)
    """The audit events of the offboardings."""
    ignored: str | None = None

    def shown(self) -> dict[str, Any]:
        """As the audit says it: ids alone."""
        said: dict[str, Any] = {
            "identities": [format_id(IDENTITY, id) for id in self.identities],
            "tokens": [format_id(TOKEN, id) for id in self.tokens],
            "sessions": len(self.sessions),
            "offboarded": [format_id(EVENT, id) for id in self.offboarded],
        }
        return said if self.ignored is None else said | {"ignored": self.ignored}


@dataclass(frozen=True, slots=True)
class Acting:
    """In whose name, and from where, what follows is done."""

    session: AsyncSession
    caller: Caller
    signer: Signer
    request_id: str | None


async def effects_of(
    acting: Acting, provider: IdentityProvider, event: SecurityEvent, critical: frozenset[str]
) -> Effects:
    """Carry out what follows from an event about people. Raises ``Invalid`` for a subject that fits too many."""
    known = event.known
    if known is None:
        return Effects(ignored="unknown_event")
    if event.subject.lacks(critical):
        return Effects(ignored="critical_member")
    people = await people_of(acting.session, provider, event.issuer, event.subject)
    found = Effects(identities=people)
    if known in _NOTHING_FOLLOWS or (known is EventType.CREDENTIAL_CHANGE and event.detail not in _ENDING):
        found.ignored = "nothing_follows"
    elif not people:
        await _end_named_sessions(acting, provider, event, known, found)
    elif known in _OFFBOARDING:
        await _offboard(acting, _OFFBOARDING[known], found)
    else:
        await _revoke(acting, known, event, found)
    return found


async def _offboard(acting: Acting, reason: str, found: Effects) -> None:
    for id in found.identities:
        done = await offboard_identity(
            acting.session,
            acting.caller,
            id,
            Offboard(reason=reason),
            Precondition(None),
            signer=acting.signer,
            via="signal",
            dry_run=False,
            request_id=acting.request_id,
        )
        if done.changed:
            found.tokens += done.things.tokens
            found.offboarded += [] if done.receipt_id is None else [done.receipt_id]
    if not found.offboarded:
        found.ignored = "offboarded_already"


async def _revoke(acting: Acting, known: EventType, event: SecurityEvent, found: Effects) -> None:
    session = acting.session
    holders = await _lock_holders(
        session, found.identities, with_agents=known is EventType.CREDENTIAL_COMPROMISE
    )
    until = datetime.fromtimestamp(event.happened_at, UTC) + SKEW
    dated = known is EventType.SESSION_REVOKED
    of_people: list[ColumnElement[bool]] = [col(BrowserSession.identity_id).in_(found.identities)]
    if dated:
        of_people.append(col(BrowserSession.created_at) <= until)
    found.sessions = await _end_sessions(acting, of_people)
    await _take_sign_ins_back(session, found.identities, until if dated else None)
    if known is EventType.TOKEN_CLAIMS_CHANGE:
        # Groups follow SCIM and roles follow the claims of a sign-in: the next one reads them anew.
        return
    roots: list[ColumnElement[bool]] = [token_queries.among(col(Token.identity_id), holders)]
    if dated:
        roots.append(col(Token.created_at) <= until)
    revoked = await revoke_tokens(
        session, acting.caller, roots, _REASONS[known], dry_run=False, request_id=acting.request_id
    )
    found.tokens = revoked.tokens


async def _lock_holders(session: AsyncSession, people: Sequence[UUID], *, with_agents: bool) -> list[UUID]:
    """The people, and their agents, as they are once the locks are held: whoever makes an agent holds its owner."""
    await take_turns(session, people)
    held: set[UUID] = set()
    while True:
        wanted = set(people)
        for id in people if with_agents else ():
            wanted |= set(await offboard_queries.agents_of(session, id))
        if wanted <= held:
            return sorted(held)
        await token_queries.lock_identities(session, wanted)
        held |= wanted


async def _take_sign_ins_back(session: AsyncSession, people: Sequence[UUID], until: datetime | None) -> None:
    """Let the provider's own tokens open the API no more that were issued up to ``until``, or up to now. Whoever
    signs in again after that has a new one."""
    now = func.clock_timestamp()
    over = now if until is None else func.least(now, until)
    await session.execute(
        update(Identity)
        .where(col(Identity.id).in_(people))
        .values(
            sign_ins_after=func.greatest(col(Identity.sign_ins_after), over),
            updated_at=col(Identity.updated_at),
        )
        .execution_options(synchronize_session=False)
    )


async def _end_named_sessions(
    acting: Acting, provider: IdentityProvider, event: SecurityEvent, known: EventType, found: Effects
) -> None:
    """A subject that names no person here, but a session perhaps: of that, and of no more, the event says it ended."""
    names = session_ids(event.subject)
    if known is EventType.SESSION_REVOKED and names:
        until = datetime.fromtimestamp(event.happened_at, UTC) + SKEW
        found.sessions = await _end_sessions(
            acting,
            [
                col(BrowserSession.provider_id) == provider.id,
                col(BrowserSession.provider_session).in_(names),
                col(BrowserSession.created_at) <= until,
            ],
        )
    if not found.sessions:
        found.ignored = "no_match"


async def _end_sessions(acting: Acting, conditions: Sequence[ColumnElement[bool]]) -> list[UUID]:
    """End browser sessions, with an event for each by whoever sent the signal."""
    ended = (
        delete(BrowserSession)
        .where(*conditions)
        .returning(col(BrowserSession.id), col(BrowserSession.provider_id))
        .execution_options(synchronize_session=False)
    )
    by_provider: dict[UUID, list[UUID]] = {}
    for id, provider_id in await acting.session.execute(ended):
        by_provider.setdefault(provider_id, []).append(id)
    for provider_id, ids in by_provider.items():
        await record_each(
            acting.session,
            acting.caller,
            "session.end",
            "browser_session",
            ids,
            request_id=acting.request_id,
            id_column="object_id",
            changes={"provider_id": format_id(IDENTITY_PROVIDER, provider_id)},
        )
    return [id for ids in by_provider.values() for id in ids]


KIND = "identity_provider"
_OF_STREAMS = frozenset({EventType.VERIFICATION, EventType.STREAM_UPDATED})


async def receive(
    acting: Acting, provider: IdentityProvider, event: SecurityEvent, critical: frozenset[str]
) -> bool:
    """Take an event whose token has passed every check. The caller commits, and only then says that it was taken.

    A repeat is on record and does nothing: then the answer is False. Raises ``Unacceptable`` for one that cannot be
    carried out, of which nothing is to stay.
    """
    session, known = acting.session, event.known
    first = await queries.remember(session, provider.id, event.issuer, event.jti, event.type, new_id())
    changes: dict[str, Any] = {"event": "unknown" if known is None else known.value}
    if first is not None:
        changes["repeats"] = format_id(EVENT, first)
    elif known in _OF_STREAMS:
        changes |= await _of_stream(session, provider, event)
    else:
        changes |= (await _of_people(acting, provider, event, critical)).shown()
    event_id = await record(
        session,
        acting.caller,
        "signal.received",
        KIND,
        provider.id,
        changes=changes,
        request_id=acting.request_id,
    )
    if first is None:
        await _point(session, provider.id, event, event_id)
    # Last, since others wait for it.
    await queries.note_received(session, provider.id, event.issuer)
    return first is None


async def refuse(
    session: AsyncSession,
    caller: Caller,
    provider_id: UUID | None,
    code: ErrorCode,
    *,
    count: int = 1,
    request_id: str | None = None,
) -> None:
    """Put on record that so many event tokens were not taken, in a transaction of its own. Without a provider: by
    somebody who serves none."""
    await record(
        session,
        caller,
        "signal.refused",
        KIND,
        provider_id,
        request_id=request_id,
        outcome="denied",
        decision="deny",
        reason_code=code,
        event_count=count,
    )
    if code == "invalid_state" and provider_id is not None:
        await queries.note_error(session, provider_id, "verification")


async def _of_people(
    acting: Acting, provider: IdentityProvider, event: SecurityEvent, critical: frozenset[str]
) -> Effects:
    try:
        return await effects_of(acting, provider, event, critical)
    except Invalid as error:
        raise Unacceptable("invalid_request", error.detail) from None


async def _of_stream(
    session: AsyncSession, provider: IdentityProvider, event: SecurityEvent
) -> dict[str, Any]:
    ids = [one.id for one in event.subject.people if isinstance(one, ById)]
    if event.known is EventType.STREAM_UPDATED:
        noted = await note_status(session, provider.id, event.issuer, ids, event.detail or "")
        return {"status": event.detail} if noted else {"ignored": "other_stream"}
    noted = await note_verification(session, provider.id, event.issuer, ids, event.detail)
    return {} if noted else {"ignored": "other_stream"}


async def _point(session: AsyncSession, provider_id: UUID, event: SecurityEvent, event_id: UUID) -> None:
    mine = update(SignalEvent).where(
        col(SignalEvent.provider_id) == provider_id,
        col(SignalEvent.issuer) == event.issuer,
        col(SignalEvent.jti) == event.jti,
    )
    await session.execute(mine.values(event_id=event_id).execution_options(synchronize_session=False))
