"""Queries of approvals: their state, who may see them, and their locks."""

from collections.abc import Collection, Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    String,
    Uuid,
    and_,
    any_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from app.features.approvals.schemas import ApprovalQuery
from app.http.authorization import Caller, Permission
from app.models.access import Approval
from app.models.identities import GroupMember, Identity
from app.models.servers import Server

_PROGRAM = "service_account"
OPEN = ("pending", "approved")
"""The states that an end or an expiry takes an approval out of."""

# The state is read after the lock is acquired, which may be long after the transaction began.
STATE_SQL = """CASE WHEN {0}.state IN ('pending', 'approved') AND {0}.expires_at <= clock_timestamp()
    THEN 'expired' ELSE {0}.state END"""
_STATE: ColumnElement[str] = literal_column(STATE_SQL.format("approvals"), String)


def member_of(caller: Caller) -> UUID | None:
    """The identity whose memberships count, None for a program. A program has the permissions of its role, but not the
    memberships of its owner: a policy names people who look at a call themselves."""
    return None if caller.kind == _PROGRAM else caller.identity_id


def select_approvals(caller: Caller, query: ApprovalQuery) -> Select[Approval]:
    """Select the approvals that a caller may see and that match a filter."""
    statement = select(Approval).where(*_visible_to(caller))
    for column, values in (
        (col(Approval.identity_id), query.identity_id),
        (col(Approval.token_id), query.token_id),
        (col(Approval.server_id), query.server_id),
        (col(Approval.tool), query.tool),
        (col(Approval.kind), query.kind),
    ):
        if values:
            statement = statement.where(column.in_(values))
    if query.approver_group:
        statement = statement.where(_decided_by(query.approver_group))
    if query.state:
        # Named, since SQLAlchemy would otherwise derive an invalid name from the expression.
        statement = statement.where(_STATE.in_(bindparam("states", list(query.state), expanding=True)))
        stored = {"expired": (*OPEN, "expired")}
        states = {one for state in query.state for one in stored.get(state, (state,))}
        # The stored states that it follows from, for the index.
        statement = statement.where(col(Approval.state).in_(sorted(states)))
    return statement


async def find_approval(session: AsyncSession, caller: Caller, approval_id: UUID) -> Approval | None:
    """Find an approval that the caller may see."""
    statement = select(Approval).where(col(Approval.id) == approval_id, *_visible_to(caller))
    return await session.scalar(statement.execution_options(populate_existing=True))


def _visible_to(caller: Caller) -> Iterable[ColumnElement[bool]]:
    """Conditions for the visible approvals: none with the permission; else their own, their agents', and their
    groups'."""
    if caller.may(Permission.APPROVALS_READ):
        return ()
    me = caller.identity_id
    agents = select(col(Identity.id)).where(col(Identity.owner_id) == me)
    groups = select(col(GroupMember.group_id)).where(col(GroupMember.identity_id) == member_of(caller))
    return (
        or_(
            col(Approval.identity_id) == me,
            _is_one_of(col(Approval.identity_id), agents),
            _decided_by(groups),
        ),
    )


def _decided_by(groups: Any) -> ColumnElement[bool]:
    """Whether one of these groups decides it; for access, the group that owns the server now."""
    owned = select(col(Server.id)).where(_is_one_of(col(Server.owner_group_id), groups))
    return or_(
        _is_one_of(col(Approval.approver_group_id), groups),
        and_(col(Approval.kind) == "access", _is_one_of(col(Approval.server_id), owned)),
    )


def _is_one_of(column: Any, ids: Select[UUID] | Collection[UUID]) -> ColumnElement[bool]:
    # Read once, as an array: with arrays, each alternative of an OR uses its index.
    array: Any = (
        func.array(ids.scalar_subquery()) if isinstance(ids, Select) else literal(list(ids), ARRAY(Uuid))
    )
    among: ColumnElement[bool] = column == any_(array)
    return among


async def lock_approval(session: AsyncSession, approval_id: UUID) -> tuple[Approval, str]:
    """Lock an existing approval; return it and its state as of then."""
    statement = select(Approval).where(col(Approval.id) == approval_id).with_for_update()
    row = (await session.execute(statement.execution_options(populate_existing=True))).scalar_one()
    # Read after the lock: the clock of a statement that waits is read before it.
    state = (await session.execute(select(_STATE).where(col(Approval.id) == approval_id))).scalar_one()
    return row, state


async def lock_membership(session: AsyncSession, group_id: UUID, identity_id: UUID) -> bool:
    """Whether an identity is in a group; a membership stays locked until this transaction ends."""
    statement = select(col(GroupMember.id)).where(
        col(GroupMember.group_id) == group_id, col(GroupMember.identity_id) == identity_id
    )
    return (await session.scalar(statement.with_for_update(read=True))) is not None


async def open_approvals(session: AsyncSession, *conditions: ColumnElement[bool], lock: bool) -> list[UUID]:
    """The ids of matching approvals that can still be decided or used, in order; locked on demand.

    Approved access has become a grant and is not included.
    """
    alive: Any = (col(Approval.expires_at).is_(None)) | (col(Approval.expires_at) > func.now())
    undone = or_(col(Approval.state) == "pending", col(Approval.kind) == "call")
    statement = (
        select(col(Approval.id))
        .where(col(Approval.state).in_(OPEN), undone, alive, or_(*conditions))
        .order_by(col(Approval.id))
    )
    return list(await session.scalars(statement.with_for_update() if lock else statement))
