"""Receive a security event: store it, apply it and audit it in one transaction, exactly once.

A subject means only people of the provider, identified by its own values. Signals only take access away and never give
any. So when a subject matches several people of the provider, it applies to all of them: sparing the intended person
would be worse.

Locks are taken in one order: identities by id, then tokens by id. A transaction that issues a token holds its identity,
so a token is either issued before and found here, or issued after the event was applied.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.signing import Signer
from app.db.change import Change, Values, write
from app.db.change import Subject as AuditedRow
from app.db.rows import is_one_of
from app.domain.errors import Invalid
from app.domain.security_events import ByAccount, ByEmail, ById, ByIssuer, EventType, SecurityEvent, Subject
from app.features.audit.record import record
from app.features.browser_sessions.service import end_sessions_where
from app.features.identities.queries import OIDC, agents_of, erased_link, take_turns
from app.features.identities.service import revoke_sign_ins
from app.features.identity_providers.queries import same_claim
from app.features.identity_providers.signals import streams
from app.features.offboarding.offboard import offboard_identity
from app.features.offboarding.schemas import Offboard
from app.features.tokens import queries as token_queries
from app.features.tokens.service import revoke_tokens
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.lib.ids import EVENT, IDENTITY, IDENTITY_PROVIDER, TOKEN, format_id, new_id
from app.models.identities import BrowserSession
from app.models.identity_providers import IdentityProvider
from app.models.tokens import Token

MAX_PEOPLE = 100
"""A subject that matches more people means no one in particular."""
_NAMED = ["signal", "scim"]

# A person is identified by issuer and value, as at a sign-in: a provider that was registered again knows the same
# people.
_PROVIDERS = f"""
WITH provider AS (
    SELECT same.id FROM identity_providers asked JOIN identity_providers same ON {same_claim("same", "asked")}
    WHERE asked.id = :provider
)
"""  # noqa: S608 - the only value is a constant

# The condition on links has the form of their unique index, which would not serve another form.
_BY_LINK = text(f"""{_PROVIDERS}
SELECT link.identity_id FROM provider JOIN identity_links link
    ON coalesce(link.provider_id::text, '') = provider.id::text
    AND link.kind = ANY(:kinds) AND link.value = ANY(:values)
""")  # noqa: S608 - the only value is a constant
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
    """The identities of a subject in the order of their ids, including offboarded and erased ones.

    Raises ``Invalid`` for a subject that matches more than a hundred.
    """
    people: set[UUID] = set()
    for identifier in subject.people:
        match identifier:
            case ByEmail(name) | ByAccount(name):
                people |= await _by_name(session, provider, name)
            case ById(id):
                people |= await _by_own_id(session, provider, id)
            case ByIssuer(issuer, id):
                if issuer == provider.issuer:
                    people |= await _by_sign_in(session, provider, id)
                if issuer == transmitter:
                    people |= await _by_own_id(session, provider, id)
    if len(people) > MAX_PEOPLE:
        raise Invalid("Its subject matches too many people.")
    return sorted(people)


async def _by_sign_in(session: AsyncSession, provider: IdentityProvider, subject: str) -> set[UUID]:
    """Find people by the ``sub`` that they signed in with; with another link claim, only those with a session."""
    people = set(await session.scalars(_BY_SESSION, {"provider": provider.id, "subject": subject}))
    if provider.settings.get("link_claim", "sub") == "sub":
        people |= await _by_link(session, provider, [OIDC], subject)
    return people


async def _by_own_id(session: AsyncSession, provider: IdentityProvider, id: str) -> set[UUID]:
    parameters = {"provider": provider.id, "external_id": id, "most": MAX_PEOPLE + 1}
    return await _by_link(session, provider, _NAMED, id) | set(
        await session.scalars(_BY_EXTERNAL_ID, parameters)
    )


async def _by_link(
    session: AsyncSession, provider: IdentityProvider, kinds: list[str], value: str
) -> set[UUID]:
    """An erased person is matched by the digest of the link."""
    values = [value, *(erased_link(kind, value) for kind in kinds)]
    parameters = {"provider": provider.id, "kinds": kinds, "values": values}
    return set(await session.scalars(_BY_LINK, parameters))


async def _by_name(session: AsyncSession, provider: IdentityProvider, name: str) -> set[UUID]:
    parameters = {"provider": provider.id, "name": name, "most": MAX_PEOPLE + 1}
    return set(await session.scalars(_BY_NAME, parameters))


SKEW = timedelta(minutes=1)
"""Tolerance for the transmitter's clock: what began this long after an event ends with it too."""
_ENDING = frozenset({"revoke", "delete"})
_OFFBOARDING = {
    EventType.ACCOUNT_DISABLED: "the identity provider disabled the account",
    EventType.ACCOUNT_PURGED: "the identity provider deleted the account",
}
_REASONS = {
    EventType.SESSION_REVOKED: "the identity provider revoked the session",
    EventType.CREDENTIAL_CHANGE: "the identity provider revoked a credential",
    EventType.CREDENTIAL_COMPROMISE: "the identity provider reported a compromised credential",
}
_SESSION = AuditedRow("browser_session")
_NOTHING_FOLLOWS = frozenset({EventType.ACCOUNT_ENABLED})


@dataclass(slots=True)
class Effects:
    """The effects of an event. ``ignored`` is the reason when there are none."""

    identities: list[UUID] = field(default_factory=list)
    tokens: list[UUID] = field(default_factory=list)
    sessions: list[UUID] = field(default_factory=list)
    offboarded: list[UUID] = field(default_factory=list)
    """The audit events of the offboardings."""
    ignored: str | None = None

    def shown(self) -> dict[str, Any]:
        """The effects for the audit event: only ids."""
        content: dict[str, Any] = {
            "identities": [format_id(IDENTITY, id) for id in self.identities],
            "tokens": [format_id(TOKEN, id) for id in self.tokens],
            "sessions": len(self.sessions),
            "offboarded": [format_id(EVENT, id) for id in self.offboarded],
        }
        return content if self.ignored is None else content | {"ignored": self.ignored}


async def effects_of(
    change: Change, signer: Signer, provider: IdentityProvider, event: SecurityEvent, critical: frozenset[str]
) -> Effects:
    """Apply an event about people. Raises ``Invalid`` for a subject that matches too many."""
    type = event.known
    if type is None:
        return Effects(ignored="unknown_event")
    if event.subject.lacks(critical):
        return Effects(ignored="critical_member")
    people = await people_of(change.session, provider, event.issuer, event.subject)
    effects = Effects(identities=people)
    if type in _NOTHING_FOLLOWS or (type is EventType.CREDENTIAL_CHANGE and event.detail not in _ENDING):
        effects.ignored = "nothing_follows"
    elif not people:
        await _end_named_sessions(change, provider, event, type, effects)
    elif type in _OFFBOARDING:
        await _offboard(change, signer, _OFFBOARDING[type], effects)
    else:
        await _revoke(change, type, event, effects)
    return effects


async def _offboard(change: Change, signer: Signer, reason: str, effects: Effects) -> None:
    for id in effects.identities:
        outcome = await offboard_identity(
            change, id, Offboard(reason=reason), Precondition(None), signer=signer, via="signal"
        )
        if outcome.changed:
            effects.tokens += outcome.things.tokens
            effects.offboarded += [] if outcome.receipt_id is None else [outcome.receipt_id]
    if not effects.offboarded:
        effects.ignored = "offboarded_already"


async def _revoke(change: Change, type: EventType, event: SecurityEvent, effects: Effects) -> None:
    session = change.session
    holders = await _lock_people(
        session, effects.identities, with_agents=type is EventType.CREDENTIAL_COMPROMISE
    )
    until = datetime.fromtimestamp(event.happened_at, UTC) + SKEW
    dated = type is EventType.SESSION_REVOKED
    of_people: list[ColumnElement[bool]] = [col(BrowserSession.identity_id).in_(effects.identities)]
    if dated:
        of_people.append(col(BrowserSession.created_at) <= until)
    effects.sessions = await _end_sessions(change, of_people)
    await revoke_sign_ins(session, effects.identities, until if dated else None)
    if type is EventType.TOKEN_CLAIMS_CHANGE:
        # Groups follow SCIM and roles follow the claims of the next sign-in.
        return
    roots: list[ColumnElement[bool]] = [is_one_of(col(Token.identity_id), holders)]
    if dated:
        roots.append(col(Token.created_at) <= until)
    effects.tokens = (await revoke_tokens(change, roots, _REASONS[type])).tokens


async def _lock_people(session: AsyncSession, people: Sequence[UUID], *, with_agents: bool) -> list[UUID]:
    """Lock and return the people and their agents: a transaction that creates an agent holds its owner."""
    await take_turns(session, people)
    locked: set[UUID] = set()
    while True:
        ids = set(people)
        for id in people if with_agents else ():
            ids |= set(await agents_of(session, id, live=True))
        if ids <= locked:
            return sorted(locked)
        await token_queries.read_identities(session, ids, lock=True)
        locked |= ids


async def _end_named_sessions(
    change: Change, provider: IdentityProvider, event: SecurityEvent, type: EventType, effects: Effects
) -> None:
    """Revoke the sessions of a subject without a person here, if there are any."""
    # The provider's session ids (``sid``).
    names = [one.id for one in event.subject.sessions if isinstance(one, ById)]
    if type is EventType.SESSION_REVOKED and names:
        until = datetime.fromtimestamp(event.happened_at, UTC) + SKEW
        effects.sessions = await _end_sessions(
            change,
            [
                col(BrowserSession.provider_id) == provider.id,
                col(BrowserSession.provider_session).in_(names),
                col(BrowserSession.created_at) <= until,
            ],
        )
    if not effects.sessions:
        effects.ignored = "no_match"


async def _end_sessions(change: Change, conditions: Sequence[ColumnElement[bool]]) -> list[UUID]:
    """End browser sessions, with an event for each by the sender of the signal."""
    ended = await end_sessions_where(change.session, *conditions)
    for id, _, provider_id in ended:
        details = {"provider_id": format_id(IDENTITY_PROVIDER, provider_id)}
        change.record("session.end", _SESSION, Values(id, {}), details=details)
    return [id for id, _, _ in ended]


_OF_STREAMS = frozenset({EventType.VERIFICATION, EventType.STREAM_UPDATED})


async def receive(
    change: Change, signer: Signer, provider: IdentityProvider, event: SecurityEvent, critical: frozenset[str]
) -> bool:
    """Apply an event whose token is fully verified. The caller commits, and only then acknowledges it.

    A repeat is recorded and has no effect: then the result is False. Raises ``Unacceptable`` for an event that cannot
    be applied and must not be stored.
    """
    session, type, event_id = change.session, event.known, new_id()
    first = await streams.record_event(session, provider.id, event.issuer, event.jti, event.type, event_id)
    details: dict[str, Any] = {"event": "unknown" if type is None else type.value}
    if first is not None:
        details["repeats"] = format_id(EVENT, first)
    elif type in _OF_STREAMS:
        details |= await _of_stream(session, provider, event)
    else:
        try:
            effects = await effects_of(change, signer, provider, event, critical)
        except Invalid as error:
            raise streams.Unacceptable("invalid_request", error.detail) from None
        details |= effects.shown()
    change.record(
        "signal.received", streams.STREAM, Values(provider.id, {}), details=details, event_id=event_id
    )
    # Last, since others wait for this lock.
    await write(session)
    await streams.record_received(session, provider.id, event.issuer)
    return first is None


async def refuse(
    session: AsyncSession,
    caller: Caller,
    provider_id: UUID | None,
    code: streams.ErrorCode,
    *,
    count: int = 1,
    request_id: str | None = None,
) -> None:
    """Audit the number of refused event tokens, in a transaction of its own. Without a provider, the sender serves
    none."""
    await record(
        session,
        caller,
        "signal.refused",
        streams.STREAM.type,
        provider_id,
        request_id=request_id,
        outcome="denied",
        decision="deny",
        reason_code=code,
        event_count=count,
    )
    if code == "invalid_state" and provider_id is not None:
        await streams.record_error(session, provider_id, "verification")


async def _of_stream(
    session: AsyncSession, provider: IdentityProvider, event: SecurityEvent
) -> dict[str, Any]:
    ids = [one.id for one in event.subject.people if isinstance(one, ById)]
    if event.known is EventType.STREAM_UPDATED:
        noted = await streams.record_status(session, provider.id, event.issuer, ids, event.detail or "")
        return {"status": event.detail} if noted else {"ignored": "other_stream"}
    noted = await streams.record_verification(session, provider.id, event.issuer, ids, event.detail)
    return {} if noted else {"ignored": "other_stream"}
