"""What the filters of lists and of bulk revocation mean as conditions."""

from sqlalchemy import ColumnElement, Select, select
from sqlmodel import col

from app.db.text_search import has_text
from app.domain.errors import Invalid
from app.features.tokens import queries
from app.features.tokens.schemas import TokenQuery, TokensRevokeFilter
from app.features.tokens.status import has_status
from app.http.pagination import Sorts, caseless
from app.models.tokens import Token

SORTS: Sorts = {
    "name": caseless(col(Token.name)),
    "expires_at": col(Token.expires_at),
}
"""What a list can be sorted by, with an index for each."""


def select_tokens(query: TokenQuery) -> Select[Token]:
    """The tokens that a list's filters leave."""
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
    """The conditions of a bulk filter. Raises ``Invalid`` for an empty one, which would mean everything."""
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
