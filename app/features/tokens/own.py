"""Whose tokens are a person's own: theirs, and those of the agents that they answer for."""

from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.domain.errors import Forbidden, NotFound
from app.features.identities.models import Identity
from app.features.identities.repository import agents_of
from app.features.tokens import repository
from app.features.tokens.filters import select_tokens
from app.features.tokens.models import Token
from app.features.tokens.repository import TokenReading
from app.features.tokens.schemas import TokenQuery
from app.kit.authorization import Caller

_PEOPLE = frozenset({"administrator", "identity"})
_NONE = "There is no such token, or it is neither yours nor that of an agent that you answer for."


def person_of(caller: Caller) -> UUID:
    """The person who signed in themselves.

    Raises ``Forbidden`` for anybody else: whoever makes a service account names who answers for it, and must not come
    by that person's secrets with it.
    """
    if caller.kind not in _PEOPLE or caller.identity_id is None:
        raise Forbidden(
            "This is for people who sign in themselves: no service account acts as the person who answers for it."
        )
    return caller.identity_id


def answers_for(person_id: UUID, identity: Identity | None) -> bool:
    """Whether an identity is this person, or an agent of theirs."""
    return identity is not None and (identity.owner_id or identity.id) == person_id


async def select_own_tokens(session: AsyncSession, person_id: UUID, query: TokenQuery) -> Select[Token]:
    """The person's own tokens that a filter leaves."""
    own = [person_id, *await agents_of(session, person_id)]
    return select_tokens(query).where(repository.among(col(Token.identity_id), own))


async def find_own_token(session: AsyncSession, person_id: UUID, token_id: UUID) -> TokenReading:
    """One of the person's own tokens as it is now. Raises ``NotFound`` for any other."""
    reading = await repository.find_reading(session, token_id)
    if reading is None:
        raise NotFound(_NONE)
    identities = await repository.read_identities(session, {reading.row.identity_id})
    if not answers_for(person_id, identities.get(reading.row.identity_id)):
        raise NotFound(_NONE)
    return reading


async def hold_own_token(session: AsyncSession, person_id: UUID, token_id: UUID) -> None:
    """The same, held so until this transaction ends: no agent is handed over meanwhile. Raises ``NotFound``."""
    holder = (await find_own_token(session, person_id, token_id)).row.identity_id
    held = await repository.lock_identities(session, {holder}, share=True)
    if not answers_for(person_id, held.get(holder)):
        raise NotFound(_NONE)
