"""Translation of SCIM filters (RFC 7644 section 3.4.2.2) to SQL conditions.

A condition agrees with the in-memory evaluation of ``scim2_models``, except that the database's ``lower`` folds case
and that times without a zone are UTC. Everything that a client sends is a parameter.
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import sqlalchemy as sa
from scim2_models import InvalidFilterException, InvalidValueException, ScimFilter
from scim2_models import path as nodes
from scim2_models.path import AttributeBinding, AttrPath, CompareOperator

from app.adapters.scim.columns import Complex, Many, Source, Value
from app.lib.ids import parse_id

MAX_TERMS = 200
"""The maximum number of comparisons and presence tests in a filter."""
MAX_ATTRIBUTES = 200
"""The maximum number of attributes that a search includes or excludes."""
_ATTRIBUTES = frozenset({"attributes", "excludedattributes"})
MAX_FILTER_LENGTH = 8_000
"""The maximum length of a filter in characters, checked before parsing."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

Condition = sa.ColumnElement[bool]

_OPERATIONS: dict[CompareOperator, Callable[[sa.ColumnElement[Any], Any], Condition]] = {
    CompareOperator.co: lambda left, right: sa.func.strpos(left, right, type_=sa.Integer()) > 0,
    CompareOperator.sw: lambda left, right: sa.func.starts_with(left, right, type_=sa.Boolean()),
    CompareOperator.ew: lambda left, right: (
        sa.func.right(left, sa.func.length(right), type_=sa.Text()) == right
    ),
    CompareOperator.gt: lambda left, right: left > right,
    CompareOperator.ge: lambda left, right: left >= right,
    CompareOperator.lt: lambda left, right: left < right,
    CompareOperator.le: lambda left, right: left <= right,
}


def check_length(payload: Any) -> None:
    """Check the size of a search before it is parsed.

    Raises ``InvalidFilterException`` for a long filter and ``InvalidValueException`` for too many attributes.
    """
    items = payload.items() if isinstance(payload, Mapping) else ()
    if any(_count(value) > MAX_ATTRIBUTES for key, value in items if str(key).lower() in _ATTRIBUTES):
        raise InvalidValueException(detail=f"A search names at most {MAX_ATTRIBUTES} attributes")
    if any(str(key).lower() == "filter" and len(str(value)) > MAX_FILTER_LENGTH for key, value in items):
        raise InvalidFilterException(detail=f"A filter has at most {MAX_FILTER_LENGTH} characters")


def _count(names: Any) -> int:
    return len(names) if isinstance(names, list) else str(names).count(",") + 1


def condition(source: Source, scim_filter: ScimFilter[Any]) -> Condition:
    """Translate a filter. Raises ``InvalidFilterException`` if it cannot be evaluated."""
    if _terms(scim_filter.ast) > MAX_TERMS:
        raise InvalidFilterException(
            detail=f"A filter has at most {MAX_TERMS} terms. Split it into several requests."
        )
    return _ResourceVisitor(source).visit(scim_filter.ast)


def value_condition(source: Source, selection: nodes.ValuePath) -> tuple[Many, Condition]:
    """Translate a value selection to the attribute's values and a condition on them.

    Raises ``InvalidFilterException`` if it cannot be evaluated.
    """
    visitor = _ResourceVisitor(source)
    bound = visitor.bind(selection.attr_path)
    many = None if bound is None else source.read(bound)
    if not isinstance(many, Many) or _terms(selection.val_filter) > MAX_TERMS:
        raise InvalidFilterException(detail=f"'{selection}' selects no values of this attribute")
    return many, _ValueVisitor(visitor, selection.attr_path, many).visit(selection.val_filter)


def _terms(node: nodes.FilterNode) -> int:
    if isinstance(node, nodes.LogicalExpr):
        return sum(_terms(term) for term in node.terms)
    if isinstance(node, nodes.Not):
        return _terms(node.expr)
    return _terms(node.val_filter) if isinstance(node, nodes.ValuePath) else 1


class _Visitor(nodes.FilterVisitor[Condition]):
    """Logical operators. NULL counts as false, so it is made false before a negation."""

    def visit_not(self, node: nodes.Not) -> Condition:
        return sa.not_(sa.func.coalesce(self.visit(node.expr), sa.false()))

    def visit_logical_expr(self, node: nodes.LogicalExpr) -> Condition:
        terms = [self.visit(term) for term in node.terms]
        return sa.and_(*terms) if node.op == nodes.LogicalOperator.and_ else sa.or_(*terms)


class _ResourceVisitor(_Visitor):
    """A filter of resources. An attribute that the model does not have matches no resource."""

    def __init__(self, source: Source) -> None:
        self.source = source
        # Only used to resolve paths; the expression does not matter.
        model: Any = source.model
        self._binder: ScimFilter[Any] = ScimFilter[model]("id pr")

    def bind(self, path: AttrPath, *, compared: bool = False) -> AttributeBinding | None:
        """Resolve a path; None if there is no such attribute. A comparison of ``emails`` is one of their values."""
        resolve = self._binder.resolve_comparison if compared else self._binder.resolve
        return resolve(path, strict=False)

    def visit_comparison(self, node: nodes.Comparison) -> Condition:
        bound = self.bind(node.attr_path, compared=True)
        if bound is None:
            return sa.false()
        operand = _operand(bound, node)
        attribute = self.source.read(bound)
        part = _part(bound)
        if isinstance(attribute, Many):
            return _compare_many(attribute, part or "value", node.op, operand, bound)
        if isinstance(attribute, Complex):
            # Entra ID compares `manager` itself with an id.
            if part is None and isinstance(operand, str) and "value" in attribute.parts:
                part = "value"
            if part is None:
                # A complex value can only be compared with ``null``.
                if node.op == CompareOperator.eq:
                    return sa.not_(attribute.exists) if operand is None else sa.false()
                return _only_ne(node.op, attribute.exists if operand is None else sa.true())
            attribute = _find_attribute(attribute.parts, part, bound)
        return _compare(attribute, node.op, operand, exact=bound.case_exact)

    def visit_present(self, node: nodes.Present) -> Condition:
        bound = self.bind(node.attr_path)
        if bound is None:
            return sa.false()
        attribute = self.source.read(bound)
        part = _part(bound)
        if isinstance(attribute, Value):
            return _present(attribute)
        parts = attribute.parts if part is None else {part: _find_attribute(attribute.parts, part, bound)}
        present = sa.or_(*(_present(value) for value in parts.values()))
        return _any(attribute, present) if isinstance(attribute, Many) else present

    def visit_value_path(self, node: nodes.ValuePath) -> Condition:
        bound = self.bind(node.attr_path)
        if bound is None:
            return sa.false()
        many = self.source.read(bound)
        if not isinstance(many, Many):
            raise InvalidFilterException(detail=f"'{bound.urn}' has no values to select from")
        inner = _ValueVisitor(self, node.attr_path, many)
        selected = _any(many, inner.visit(node.val_filter))
        return sa.and_(*inner.indexed_conditions(node.val_filter), selected)


class _ValueVisitor(_Visitor):
    """A filter in brackets, for one value of a multi-valued attribute."""

    def __init__(self, outer: _ResourceVisitor, attribute: AttrPath, many: Many) -> None:
        self.outer = outer
        self.attribute = attribute
        self.many = many

    def _part(self, path: AttrPath) -> tuple[AttributeBinding, Value] | None:
        if path.sub_attr is not None or path.uri is not None:
            return None
        if path.attr.lower() == "value" and "value" in self.many.parts:
            bound = self.outer.bind(self.attribute, compared=True)
        else:
            inner = AttrPath(self.attribute.attr, path.attr, self.attribute.uri)
            bound = self.outer.bind(inner)
        if bound is None:
            return None
        return bound, _find_attribute(self.many.parts, _part(bound) or "value", bound)

    def visit_comparison(self, node: nodes.Comparison) -> Condition:
        part = self._part(node.attr_path)
        if part is None:
            return sa.false()
        bound, value = part
        return _compare(value, node.op, _operand(bound, node), exact=bound.case_exact)

    def visit_present(self, node: nodes.Present) -> Condition:
        part = self._part(node.attr_path)
        return sa.false() if part is None else _present(part[1])

    def visit_value_path(self, node: nodes.ValuePath) -> Condition:
        raise InvalidFilterException(detail="A selection of values cannot hold another one")

    def indexed_conditions(self, node: nodes.FilterNode) -> list[Condition]:
        """Conditions implied by the filter that an index supports: values that must exist."""
        if self.many.equal is None:
            return []
        every = isinstance(node, nodes.LogicalExpr) and node.op == nodes.LogicalOperator.and_
        terms = node.terms if every and isinstance(node, nodes.LogicalExpr) else (node,)
        values = [
            _operand(part[0], term)
            for term in terms
            if isinstance(term, nodes.Comparison)
            and term.op == CompareOperator.eq
            and term.attr_path.attr.lower() == "value"
            and (part := self._part(term.attr_path)) is not None
        ]
        return [self.many.equal(value) for value in values if isinstance(value, str)]


def _part(bound: AttributeBinding) -> str | None:
    """The name of the sub-attribute, as the schema spells it."""
    return bound.urn.rpartition(":")[2].partition(".")[2] or None


def _find_attribute(parts: Any, part: str, bound: AttributeBinding) -> Value:
    value = parts.get(part)
    if not isinstance(value, Value):
        raise InvalidFilterException(detail=f"Filters cannot use '{bound.urn}'")
    return value


def _operand(bound: AttributeBinding, node: nodes.Comparison) -> Any:
    """The value to compare with, converted to the attribute's type and storable."""
    value = nodes.coerce_value(bound, node.value, node.op)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str) and _UNSTORABLE.search(value):
        raise InvalidFilterException(detail="A value contains characters that no attribute can have")
    if not isinstance(value, datetime):
        return value
    try:
        known = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (OverflowError, ValueError):
        raise InvalidFilterException(detail="A time is out of range") from None
    # The driver writes the minimum and maximum times as infinities.
    if known.year in {1, 9999}:
        raise InvalidFilterException(detail="A time is out of range")
    return known


def _present(value: Value) -> Condition:
    if value.uuid is not None:
        return value.uuid.is_not(None)
    there = value.expression.is_not(None)
    return sa.and_(there, value.expression != "") if value.kind == "text" else there


def _compare_many(
    many: Many, part: str, op: CompareOperator, operand: Any, bound: AttributeBinding
) -> Condition:
    value = _find_attribute(many.parts, part, bound)
    if operand is None:
        # An attribute without values equals null.
        without = _any(many, value.expression.is_(None))
        some = _any(many, sa.true())
        return (
            sa.or_(sa.not_(some), without)
            if op == CompareOperator.eq
            else _only_ne(op, sa.and_(some, sa.not_(without)))
        )
    if op == CompareOperator.ne:
        return sa.not_(_any(many, _compare(value, CompareOperator.eq, operand, exact=bound.case_exact)))
    if op == CompareOperator.eq and part == "value" and many.equal is not None and isinstance(operand, str):
        return many.equal(operand)
    return _any(many, _compare(value, op, operand, exact=bound.case_exact))


def _only_ne(op: CompareOperator, matching: Condition) -> Condition:
    return matching if op == CompareOperator.ne else sa.false()


def _compare(value: Value, op: CompareOperator, operand: Any, *, exact: bool) -> Condition:
    """Compare one value; NULL or false if it does not match."""
    left = value.expression
    if operand is None:
        return left.is_(None) if op == CompareOperator.eq else _only_ne(op, left.is_not(None))
    if value.kind == "id" and op in {CompareOperator.eq, CompareOperator.ne}:
        return _compare_id(value, op, operand)
    textual = value.kind in {"text", "id"}
    if textual != isinstance(operand, str) or (op in nodes.STRING_OPERATORS and not textual):
        return _only_ne(op, sa.true())
    right: Any = sa.literal(operand, sa.Text) if textual else sa.literal(operand)
    if textual and not exact:
        left, right = sa.func.lower(left), sa.func.lower(right)
    if op == CompareOperator.eq:
        equal: Condition = left == right
        return equal
    if op == CompareOperator.ne:
        return left.is_distinct_from(right)
    if textual and op not in nodes.STRING_OPERATORS:
        # By code points, independent of the database's collation.
        left = left.collate("C")
    return _OPERATIONS[op](left, right)


def _compare_id(value: Value, op: CompareOperator, operand: Any) -> Condition:
    id = None
    if isinstance(operand, str) and operand == operand.lower():
        with suppress(ValueError):
            id = parse_id(value.prefix, operand)
    if id is None or value.uuid is None:
        return _only_ne(op, sa.true())
    return value.uuid == id if op == CompareOperator.eq else value.uuid.is_distinct_from(id)


def _any(many: Many, matching: Condition) -> Condition:
    return sa.exists(sa.select(1).select_from(many.rows).where(many.where, matching))
