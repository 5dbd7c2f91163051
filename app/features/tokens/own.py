"""Conditions for tokens: a person's own ones, the filters of lists, and those of bulk revocation."""

from uuid import UUID

from sqlalchemy import ColumnElement, Select, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.db.rows import has_text
from app.domain.errors import Forbidden, Invalid, NotFound
from app.features.identities.queries import agents_of, take_turns
from app.features.tokens import queries
from app.features.tokens.queries import TokenReading, has_status
from app.features.tokens.schemas import TokenQuery, TokensRevokeFilter
from app.http.authorization import Caller
from app.http.pagination import Sorts, caseless
from app.models.identities import Identity
from app.models.tokens import Token

SORTS: Sorts = {
    "name": caseless(col(Token.name)),
    "expires_at": col(Token.expires_at),
}
"""The sort orders of the list, with an index for each."""


def select_tokens(query: TokenQuery) -> Select[Token]:
    """Select the tokens that match a list's filters."""
    statement = select(Token)
    if query.identity_id:
        statement = statement.where(col(Token.identity_id).in_(query.identity_id))
    if query.parent_id:
        statement = statement.where(col(Token.parent_id).in_(query.parent_id))
    if query.server_id is not None:
        statement = statement.where(queries.can_reach(query.server_id))
    if query.status:
        statement = statement.where(has_status([status.value for status in query.status]))
    if query.expires_after is not None:
        statement = statement.where(col(Token.expires_at) > query.expires_after)
    if query.expires_before is not None:
        statement = statement.where(col(Token.expires_at) < query.expires_before)
    if query.q:
        statement = statement.where(has_text(query.q, col(Token.name), indexed="tokens.name"))
    return statement


def bulk_conditions(filter: TokensRevokeFilter) -> list[ColumnElement[bool]]:
    """The conditions of a bulk filter. Raises ``Invalid`` for an empty one, which would match everything."""
    conditions: list[ColumnElement[bool]] = []
    if filter.token_ids is not None:
        conditions.append(col(Token.id).in_(filter.token_ids))
    if filter.identity_id is not None:
        conditions.append(col(Token.identity_id) == filter.identity_id)
    if filter.group_id is not None:
        conditions.append(queries.of_members(filter.group_id))
    if filter.server_id is not None:
        conditions.append(queries.can_reach(filter.server_id))
    if filter.parent_id is not None:
        conditions.append(col(Token.parent_id) == filter.parent_id)
    if filter.created_before is not None:
        conditions.append(col(Token.created_at) < filter.created_before)
    if not conditions:
        raise Invalid.field(
            "/filter", "empty_filter", "Name at least one condition: an empty filter revokes nothing."
        )
    return conditions


# Since the token was created, or since its person last picked up a secret from an issuer.
_AFTER_OTHER_OWNER = text("""
SELECT EXISTS (
    SELECT 1 FROM object_versions v
    WHERE v.object_id = :holder AND v.kind = 'identity' AND v.content ->> 'owner_id' <> :me
    AND v.valid_to > greatest(
        (SELECT created_at FROM tokens WHERE id = :token),
        (SELECT max(picked_up_at) FROM token_pickups WHERE token_id = :token AND recipient_id = CAST(:me AS uuid))
    )
)
""")
_PEOPLE = frozenset({"administrator", "identity"})
_NONE = "There is no such token, or it is neither yours nor that of an agent that you own."


def person_of(caller: Caller) -> UUID:
    """The person who signed in themselves.

    Raises ``Forbidden`` for other callers: the creator of a service account chooses its owner, and must not get that
    person's secrets with it.
    """
    if caller.kind not in _PEOPLE or caller.identity_id is None:
        raise Forbidden(
            "This is for people who sign in themselves: a service account cannot act as its owner."
        )
    return caller.identity_id


def answers_for(person_id: UUID, identity: Identity | None) -> bool:
    """Whether an identity is this person, or an agent of theirs."""
    return identity is not None and (identity.owner_id or identity.id) == person_id


async def select_own_tokens(session: AsyncSession, person_id: UUID, query: TokenQuery) -> Select[Token]:
    """Select the person's own tokens that match a filter."""
    own = [person_id, *await agents_of(session, person_id)]
    return select_tokens(query).where(queries.among(col(Token.identity_id), own))


async def find_own_token(session: AsyncSession, person_id: UUID, token_id: UUID) -> TokenReading:
    """Find one of the person's own tokens. Raises ``NotFound`` for any other."""
    reading = await queries.find_reading(session, token_id)
    if reading is None:
        raise NotFound(_NONE)
    identities = await queries.read_identities(session, {reading.row.identity_id})
    if not answers_for(person_id, identities.get(reading.row.identity_id)):
        raise NotFound(_NONE)
    return reading


async def lock_own_token(session: AsyncSession, person_id: UUID, token_id: UUID) -> None:
    """Lock one, so that its agent is not transferred until this transaction ends. Raises ``NotFound``."""
    await _lock(session, person_id, token_id)


async def lock_to_renew(session: AsyncSession, person_id: UUID, token_id: UUID) -> None:
    """The same, before a new secret is created.

    Raises ``NotFound``, and ``Forbidden`` for an agent's token from the time of a former owner: otherwise a caller who
    may transfer agents, but issue nothing, would get access that others were given.
    """
    holder = await _lock(session, person_id, token_id)
    values = {"holder": holder, "token": token_id, "me": str(person_id)}
    if holder != person_id and await session.scalar(_AFTER_OTHER_OWNER, values):
        raise Forbidden(
            "This token is older than your ownership of its agent: revoke it, or ask for a pickup link from a "
            "person who issues tokens."
        )


async def _lock(session: AsyncSession, person_id: UUID, token_id: UUID) -> UUID:
    holder = (await find_own_token(session, person_id, token_id)).row.identity_id
    await take_turns(session, [holder], share=True)
    identities = await queries.lock_identities(session, {holder}, share=True)
    if not answers_for(person_id, identities.get(holder)):
        raise NotFound(_NONE)
    return holder
