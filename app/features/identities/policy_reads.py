"""What published policies read of identities and groups, which only callers who may grant can change.

Policies read attributes and the owners of agents. They name groups, whose members may approve calls or are exempt from
a policy. Services of policies are above this one, so their table is read by SQL.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import cedarpy
from cedarpy import pst
from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.domain.errors import Forbidden
from app.features.identities.queries import persons_behind
from app.http.authorization import Caller, Permission
from app.lib.ids import GROUP, format_id

_PUBLISHED = text("SELECT published_text FROM policies WHERE status = 'published' AND ended_at IS NULL")
_PUBLISHED_NAMING = text("""
SELECT published_text FROM policies WHERE status = 'published' AND ended_at IS NULL
AND (position('require_approval' IN published_text) > 0 OR position(CAST(:id AS text) IN published_text) > 0)
""")
_TAG_READERS = frozenset({"get_tag", "has_tag"})
_OTHER_ROOTS = (pst.Var("resource"), pst.Var("context"))
_OVERLAP = text("""
SELECT EXISTS (
    SELECT 1 FROM unnest(:ours) AS ours (name)
    JOIN unnest(:theirs) AS theirs (name) ON lower(ours.name) = lower(theirs.name)
)
""").bindparams(bindparam("ours", type_=ARRAY(Text)), bindparam("theirs", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True)
class _Reads:
    """The reads of one policy; ``names`` is None for any attribute, ``approvers`` the group of its annotation."""

    names: frozenset[str] | None
    owner: bool
    approvers: str | None = None


def needs_grants_write(caller: Caller, reason: str) -> Forbidden:
    """The error for a change that grants or takes away access, by a caller who may not grant."""
    return Forbidden(
        f"{reason} needs the permission {Permission.GRANTS_WRITE.value}, which {caller.lacking}."
    )


async def check_may_set_attributes(session: AsyncSession, caller: Caller, names: Collection[str]) -> None:
    """Raise ``Forbidden`` when a published policy reads one of these attributes, unless the caller may grant."""
    if not names or caller.may(Permission.GRANTS_WRITE):
        return
    for reads in map(_reads_of, await session.scalars(_PUBLISHED)):
        read = sorted(names) if reads.names is None else sorted(reads.names.intersection(names))
        if read:
            raise needs_grants_write(
                caller, f"A published policy reads the attribute {read[0]}, so changing it"
            )


async def check_may_transfer(session: AsyncSession, caller: Caller, new_owner: UUID) -> None:
    """Raise ``Forbidden``, unless the caller may grant, when the caller would own the agents, or when a published
    policy reads the owner of agents."""
    if caller.may(Permission.GRANTS_WRITE):
        return
    if new_owner in await persons_behind(session, caller.identity_id):
        raise needs_grants_write(
            caller, "You would own these agents yourself, and see and end their tokens. That"
        )
    if any(_reads_of(policy).owner for policy in await session.scalars(_PUBLISHED)):
        raise needs_grants_write(
            caller, "A published policy reads the owner of agents, so handing agents over"
        )


async def check_may_change_group(
    session: AsyncSession, caller: Caller, *names: str | None, group_id: UUID | None = None
) -> None:
    """Raise ``Forbidden`` when a policy names this group, by its id or one of these names, unless the caller may
    grant."""
    if caller.may(Permission.GRANTS_WRITE):
        return
    id = None if group_id is None else format_id(GROUP, group_id)
    policies = list(await session.scalars(_PUBLISHED_NAMING, {"id": id}))
    approvers = {name for name in (_reads_of(policy).approvers for policy in policies) if name is not None}
    is_named = id is not None and any(id in policy for policy in policies)
    group_names = {name for name in names if name is not None}
    if is_named or await names_overlap(
        session, group_names, {name for name in approvers if "\0" not in name}
    ):
        raise needs_grants_write(caller, "A published policy names this group, so changing it")


async def names_overlap(session: AsyncSession, ours: Collection[str], theirs: Collection[str]) -> bool:
    """Whether two sets of names overlap, ignoring case with the database's ``lower``, which also finds the group of an
    approval. Python's rules for letters such as ``İ`` and a final ``Σ`` differ."""
    if not ours or not theirs:
        return False
    return bool(await session.scalar(_OVERLAP, {"ours": list(ours), "theirs": list(theirs)}))


@lru_cache(maxsize=1_000)
def _reads_of(policy: str) -> _Reads:
    try:
        (parsed,) = cedarpy.policies_to_pst(policy).static_policies.values()
    except ValueError:
        # An unreadable policy may read anything.
        return _Reads(None, owner=True)
    approvers = parsed.annotations.get("require_approval")
    nodes = list(_nodes(parsed.clauses))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, pst.BinaryOp) and node.op in _TAG_READERS and _may_be_identity(node.left):
            if not isinstance(node.right, pst.StringLit):
                return _Reads(None, owner=True, approvers=approvers)
            names.add(node.right.value)
    owner = any(
        isinstance(node, pst.GetAttr) and node.attr == "owner" and _may_be_identity(node.base)
        for node in nodes
    )
    return _Reads(frozenset(names), owner, approvers)


def _may_be_identity(node: Any) -> bool:
    """Whether an expression is not a plain path from the resource or the context."""
    while isinstance(node, pst.GetAttr):
        node = node.base
    return node not in _OTHER_ROOTS


def _nodes(node: Any) -> Iterator[Any]:
    if isinstance(node, tuple):
        for each in node:
            yield from _nodes(each)
    elif isinstance(node, dict):
        yield from _nodes(tuple(node.values()))
    elif is_dataclass(node):
        yield node
        for each in fields(node):
            yield from _nodes(getattr(node, each.name))
