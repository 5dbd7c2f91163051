"""PATCH of a group, whose cost goes with what changes: one member of a group of many thousands is one row.

What is said of members is read off the operations and done to the rows; all else of a PATCH is done by
``scim2_models`` to the group without its members.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from scim2_models import (
    InvalidValueException,
    MutabilityException,
    PatchOp,
    PatchOperation,
    Path,
)
from scim2_models.path import (
    AttrPath,
    CompareOperator,
    Comparison,
    FilterNode,
    LogicalExpr,
    LogicalOperator,
    ValuePath,
)
from sqlalchemy import select

from app.adapters.scim import columns, groups
from app.adapters.scim.filters import value_condition
from app.adapters.scim.models import Group
from app.adapters.scim.work import Work
from app.models import groups as models

_MEMBERS = AttrPath("members")
_OP = PatchOperation.Op


@dataclass(frozen=True, slots=True)
class Edit:
    """What one operation says of members: ``everybody`` leaves first, then those to add and to remove."""

    everybody: bool = False
    add: frozenset[UUID] = frozenset()
    remove: frozenset[UUID] = frozenset()
    chosen: FilterNode | None = None
    """Which members are removed too, by a filter that does not just name them."""


@dataclass(slots=True)
class Pending:
    """Edits that follow one another, as one: what they come to does not depend on who is in the group."""

    everybody: bool = False
    add: set[UUID] = field(default_factory=set)
    remove: set[UUID] = field(default_factory=set)

    def take(self, edit: Edit) -> None:
        """Let this one follow."""
        if edit.everybody:
            self.everybody, self.add, self.remove = True, set(), set()
        self.add = (self.add - edit.remove) | edit.add
        self.remove = (self.remove | edit.remove) - edit.add

    def __bool__(self) -> bool:
        return self.everybody or bool(self.add or self.remove)


def split(patch: "PatchOp[Any]") -> tuple["PatchOp[Any]", list[Edit]]:
    """What a PATCH says of all else, and what it says of members.

    Raises ``InvalidValueException`` and ``MutabilityException``.
    """
    rest: list[PatchOperation[Any]] = []
    edits: list[Edit] = []
    for operation in patch.operations or []:
        path: Path[Any] = Path[Group](operation.path or "")
        if path.model is not None:
            whole, members = _split_value(operation)
            edits.extend(members)
            if whole is not None:
                rest.append(whole)
        elif _names_members(path):
            edits.append(_edit(operation, path))
        else:
            rest.append(operation)
    return patch.model_copy(update={"operations": rest}), edits


async def apply_edits(work: Work, row: models.Group, edits: list[Edit]) -> None:
    """Carry out what a PATCH says of the members of a locked group, in its order."""
    pending = Pending()
    for edit in edits:
        if edit.chosen is not None:
            # Who is meant depends on what was done before.
            pending = await _flush(work, row, pending)
            chosen = await _choose(work, row, edit.chosen)
            pending.take(Edit(remove=frozenset(chosen)))
        else:
            pending.take(edit)
    await _flush(work, row, pending)


async def _flush(work: Work, row: models.Group, pending: Pending) -> Pending:
    if pending:
        await groups.change_members(
            work, row, everybody=pending.everybody, add=pending.add, remove=pending.remove
        )
    return Pending()


async def _choose(work: Work, row: models.Group, chosen: FilterNode) -> set[UUID]:
    source = columns.groups(work.provider_id, Group)
    many, condition = value_condition(source, ValuePath(_MEMBERS, chosen))
    query = select(many.order[0]).select_from(columns.GROUPS.join(many.rows, many.where))
    found = await work.session.scalars(query.where(columns.GROUPS.c.id == row.id, condition))
    return set(found)


def _names_members(path: Path[Any]) -> bool:
    bound = path.resolve()
    return bound is not None and bound.field_name == "members"


def _split_value(operation: PatchOperation[Any]) -> tuple[PatchOperation[Any] | None, list[Edit]]:
    """An operation on the whole group: what it says of all else, if anything, and of members."""
    if not isinstance(operation.value, dict):
        return operation, []
    rest, edits = {}, []
    for key, value in operation.value.items():
        if _is_members(key):
            edits.append(_edit_value(operation.op, value))
        else:
            rest[key] = value
    return (operation.model_copy(update={"value": rest}) if rest else None), edits


def _is_members(key: str) -> bool:
    prefix, _, name = key.lower().rpartition(":")
    return name == "members" and prefix in {"", str(Group.__schema__).lower()}


def _edit(operation: PatchOperation[Any], path: Path[Any]) -> Edit:
    """What an operation on ``members`` says."""
    if len(path.parts) > 1 or (path.value_filter is not None and operation.op is not _OP.remove):
        raise MutabilityException(
            attribute="members",
            detail="Members are added and removed whole: what they are called is their own",
        )
    if path.value_filter is not None:
        named = _named(path.value_filter)
        return Edit(chosen=path.value_filter) if named is None else Edit(remove=frozenset(named))
    return _edit_value(operation.op, operation.value)


def _edit_value(op: PatchOperation.Op, value: Any) -> Edit:
    if op is _OP.remove and value is None:
        return Edit(everybody=True)
    ids = frozenset(groups.read_members(_entries(value)))
    if op is _OP.remove:
        return Edit(remove=ids)
    return Edit(everybody=op is _OP.replace_, add=ids)


def _entries(value: Any) -> Iterator[Any]:
    if value is None:
        return iter(())
    if isinstance(value, dict):
        return iter((value,))
    if not isinstance(value, list):
        raise InvalidValueException(detail="The value of members is a list of objects")
    return iter(value)


def _named(chosen: FilterNode) -> set[UUID] | None:
    """The members that a filter names by their ids; None when it says who is meant in another way."""
    terms = (
        chosen.terms if isinstance(chosen, LogicalExpr) and chosen.op is LogicalOperator.or_ else (chosen,)
    )
    named = set()
    for term in terms:
        if not isinstance(term, Comparison) or term.op is not CompareOperator.eq:
            return None
        if term.attr_path.attr.lower() != "value" or term.attr_path.sub_attr or term.attr_path.uri:
            return None
        named |= groups.known_ids(term.value)
    return named
