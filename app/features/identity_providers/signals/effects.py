"""What follows from an event: rights end, in the transaction that remembers it. Nothing is ever given back by one.

Locks are taken in the one order: identities by id, then tokens by id. Whoever issues a token holds its identity, so a
token is issued before and found here, or issued after what happened.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.crypto.signing import Signer
from app.domain.security_events import EventType, SecurityEvent
from app.features.audit.record import record_each
from app.features.identities import offboard_queries
from app.features.identities.offboard import offboard_identity
from app.features.identities.offboard_schemas import Offboard
from app.features.identities.queries import take_turns
from app.features.identity_providers.signals.people import people_of, session_ids
from app.features.tokens import queries
from app.features.tokens.revoke import revoke_tokens
from app.http.authorization import Caller
from app.http.etags import Precondition
from app.lib.ids import EVENT, IDENTITY, IDENTITY_PROVIDER, TOKEN, format_id
from app.models.administrators import BrowserSession
from app.models.identities import Identity
from app.models.identity_providers import IdentityProvider
from app.models.tokens import Token

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
    roots: list[ColumnElement[bool]] = [queries.among(col(Token.identity_id), holders)]
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
        await queries.lock_identities(session, wanted)
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
