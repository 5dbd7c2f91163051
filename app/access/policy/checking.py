"""Type checks of a policy against the vocabulary and the approved input schemas of the tools in its scope.

The engine checks types for any tool at once. This checks each tool with its own arguments, after it has evaluated the
conditions about the tool itself (``resource == Tool::...``, its name, its risk), so that only matching tools count.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any

import cedarpy
from cedarpy import pst

from app.access.policy.analysis import CONTEXT
from app.access.policy.text import Finding, Located, Statement
from app.access.policy.vocabulary import quoted, schema_text, untyped_arguments
from app.domain.arguments import ArgumentType
from app.domain.policy import Act

MAX_VARIANTS = 100
MAX_ERRORS = 20
MAX_QUESTIONS = 400
_PREFIX = re.compile(r"^for policy `policy0`, ")
_OF_ARGUMENT = re.compile(
    r"attribute `arguments\.(?P<name>[^.`\[]+)[^`]*` in context for Action::\"call_tool\""
)
_INAPPLICABLE = "unable to find an applicable action"
_MARKER = "marked by scopegate"
_ARGUMENTS = pst.GetAttr(CONTEXT, "arguments")
_CODES = (
    ("unrecognized", "unknown_name"),
    (_INAPPLICABLE, "inapplicable"),
    ("unable to guarantee safety", "unguarded_access"),
    ("not found", "unknown_attribute"),
    ("unexpected type", "wrong_type"),
    ("must be", "wrong_type"),
    ("types", "wrong_type"),
)
_CONSTANTS = (pst.StringLit, pst.EntityLit)
_Guards = tuple[pst.Clause, ...]
_PART_ARGUMENTS = {Act.USE_RESOURCES: "uri", Act.USE_PROMPTS: "name"}
_VALUES = {
    "risk": frozenset({"read", "write", "destructive", "unknown"}),
    "kind": frozenset({"person", "agent"}),
    "weekday": frozenset("monday tuesday wednesday thursday friday saturday sunday".split()),
}
_OWNERS = {"risk": "resource", "kind": "principal", "weekday": "time"}


@dataclass(frozen=True, slots=True)
class KnownTool:
    """A tool as policies see it: ``<slug>/<name>``, its risk, and the arguments of its input schema."""

    slug: str
    name: str
    risk: str
    parameters: Mapping[str, ArgumentType] = field(default_factory=dict)

    @property
    def path(self) -> str:
        return f"{self.slug}/{self.name}"


@dataclass(slots=True)
class Report:
    """The errors and warnings of a check."""

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    permits: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Variant:
    """A statement reduced to some actions, with conditions about the tool evaluated, and its schema."""

    policy: pst.Template
    schema: str
    lenient: frozenset[str] | None = frozenset()
    """Arguments of unknown type; ``None`` for all arguments."""


def _type_errors(policy: pst.Template, schema: str) -> frozenset[str]:
    """The type errors of a policy by Cedar's checker. Raises ``ValueError`` for one that is nested too deeply."""
    text = str(cedarpy.PolicySet.from_pst(pst.PolicySet({}, {policy.id: policy}, ())))
    result = cedarpy.validate_policies(text, _parsed(schema), release_gil=True)
    return frozenset(_PREFIX.sub("", error.error) for error in result.errors)


_parsed = lru_cache(maxsize=64)(partial(cedarpy.Schema.from_str, release_gil=True))


def reads_arguments(statement: Statement) -> bool:
    """Whether any condition reads the arguments of the call."""
    return any(_reads(each.expr) for each in statement.expressions())


def check_types(statement: Statement, tools: Sequence[KnownTool]) -> Report:
    """Check a statement. ``tools`` are those in its scope, needed only if it reads arguments."""
    wrong = _type_errors(replace(statement.policy, annotations={}, clauses=()), schema_text())
    if wrong:
        # "No applicable action" only follows from an unknown name.
        reported = {message for message in wrong if not message.startswith(_INAPPLICABLE)} or wrong
        return Report([_in_scope(statement, message) for message in sorted(reported)])
    report = Report(warnings=_odd_values(statement))
    variants = _variants(statement, tools)
    matched = _check_variants(statement, variants, report)
    looked_at = sum(map(len, variants.values()))
    if reads_arguments(statement) and Act.CALL_TOOL in statement.acts() and looked_at < len(tools):
        detail = (
            f"The tools that this reaches differ in more than {MAX_VARIANTS} ways; the rest were not checked."
        )
        report.warnings.append(Finding("not_all_checked", detail, statement.parts.start))
    unknown = _unchecked_arguments(statement, tools)
    if report.errors:
        return report
    report.warnings += unknown
    if not (matched or unknown) and all(each.lenient is not None for each in variants):
        detail = "This can never match: with the types that there are, its conditions are always false."
        report.warnings.append(Finding("never_matches", detail, statement.parts.start))
    return report


def _check_variants(
    statement: Statement, variants: Mapping[_Variant, Sequence[KnownTool]], report: Report
) -> bool:
    """Whether the statement can match in any variant. Adds each distinct error to the report."""
    # The engine calls to locate all errors of a text.
    matched, budget = False, iter(range(MAX_QUESTIONS))
    marker = pst.When(pst.GetAttr(CONTEXT, _MARKER))
    failing: dict[str, tuple[_Variant, list[KnownTool]]] = {}
    for variant, tools in variants.items():
        policy = variant.policy
        marked = _type_errors(replace(policy, clauses=(*policy.clauses, marker)), variant.schema)
        for message in marked:
            if _MARKER in message:
                matched = True
            elif not _excused(message, variant):
                failing.setdefault(message, (variant, []))[1].extend(tools)
    for message, (variant, tools) in sorted(failing.items(), key=itemgetter(0))[:MAX_ERRORS]:
        offset = _Locator(statement, variant, tools[0] if tools else None, budget).find(message)
        report.errors.append(_error(message, offset, [tool.path for tool in tools]))
    report.errors.sort(key=lambda finding: finding.offset)
    return matched


class _Locator:
    """Locates a type error in a statement by checking smaller and smaller parts.

    ``tool`` is one of the tools of the variant, if any.
    """

    def __init__(
        self, statement: Statement, variant: _Variant, tool: KnownTool | None, budget: Iterator[int]
    ) -> None:
        self._statement, self._variant, self._tool, self._budget = statement, variant, tool, budget

    def find(self, message: str) -> int:
        """The offset of the smallest part with this error, or of the scope if none has it."""
        parts = self._statement.parts
        guards: _Guards = ()
        for condition, clause in zip(parts.conditions, self._variant.policy.clauses, strict=True):
            if self._has(condition, guards, message):
                return self._below(condition, guards, message)
            guards = (*guards, clause)
        return parts.scope[0]

    def _below(self, node: Located, guards: _Guards, message: str) -> int:
        """The start of the smallest part with the error inside an expression with the error."""
        for part, its_guards in self._parts_of(node, guards):
            if self._has(part, its_guards, message):
                return self._below(part, its_guards, message)
        return node.start

    def _has(self, node: Located, guards: _Guards, message: str) -> bool:
        """Whether a part has the error, under its guards. Compares it with itself, which works for any type."""
        if next(self._budget, None) is None:
            return False
        part = self._settled(node)
        condition = pst.When(pst.BinaryOp("eq", part, part))
        try:
            return message in _type_errors(
                replace(self._variant.policy, clauses=(*guards, condition)), self._variant.schema
            )
        except ValueError:
            # The comparison exceeds the engine's nesting limit.
            return False

    def _parts_of(self, node: Located, guards: _Guards) -> Iterator[tuple[Located, _Guards]]:
        match node.expr:
            case pst.BinaryOp("and" | "or" as op, _, _):
                # Check the operands of a chain one by one.
                for operand in _operands(node, op):
                    yield operand, guards
                    if op == "and":
                        guards = (*guards, pst.When(self._settled(operand)))
            case pst.IfThenElse():
                condition, then, otherwise = node.parts
                yield condition, guards
                yield then, (*guards, pst.When(self._settled(condition)))
                yield otherwise, guards
            case _:
                for part in node.parts:
                    yield part, guards

    def _settled(self, node: Located) -> pst.Expr:
        expr: pst.Expr = node.expr if self._tool is None else _settled(node.expr, self._tool)
        return expr


def _operands(node: Located, op: str) -> list[Located]:
    """The operands of a chain of one operator, from the left."""
    start, operands = node.start, []
    # A nested chain in parentheses has another start and is a single operand.
    while isinstance(node.expr, pst.BinaryOp) and node.expr.op == op and node.start == start:
        operands.append(node.parts[1])
        node = node.parts[0]
    return [node, *reversed(operands)]


def _variants(statement: Statement, tools: Sequence[KnownTool]) -> dict[_Variant, list[KnownTool]]:
    """The variants of a statement, each with its tools."""
    policy = replace(statement.policy, annotations=pst.FrozenMap())
    if not reads_arguments(statement):
        return {_Variant(policy, schema_text()): []}
    variants: dict[_Variant, list[KnownTool]] = {}
    acts = statement.acts()
    others = sorted(acts - {Act.CALL_TOOL})
    if others:
        variants[_Variant(_for_acts(policy, others), schema_text())] = []
    if Act.CALL_TOOL not in acts:
        return variants
    policy = _for_acts(policy, [Act.CALL_TOOL])
    names = _argument_names(statement)
    about = [
        each
        for tool in tools[:1]
        for condition in statement.parts.conditions
        for each in _about_tool(condition, tool)
    ]
    known: dict[tuple[object, ...], _Variant] = {}
    for tool in tools:
        read = tool.parameters if names is None else {k: v for k, v in tool.parameters.items() if k in names}
        key = (schema_text(read), untyped_arguments(read), *(_truth(each, tool) for each in about))
        if key not in known and len(variants) < MAX_VARIANTS:
            settled = replace(policy, clauses=_settled(policy.clauses, tool))
            known[key] = _Variant(settled, schema_text(read), untyped_arguments(read))
            variants[known[key]] = []
        if key in known:
            variants[known[key]].append(tool)
    if not tools:
        variants[_Variant(policy, schema_text(), lenient=None)] = []
    return variants


def _for_acts(policy: pst.Template, acts: Iterable[Act]) -> pst.Template:
    """Restrict a policy to these actions."""
    uids = tuple(pst.EntityUid(pst.EntityType("Action"), act.value) for act in acts)
    return replace(policy, action=pst.ActionIn(uids))


def _excused(message: str, variant: _Variant) -> bool:
    """Whether a message is about something that this variant does not know."""
    if message.startswith(_INAPPLICABLE):
        return True
    match = _OF_ARGUMENT.search(message)
    return match is not None and (variant.lenient is None or match["name"] in variant.lenient)


def _error(message: str, offset: int, paths: Sequence[str]) -> Finding:
    code = next((code for part, code in _CODES if part in message), "invalid")
    detail = f"{message[:1].upper()}{message[1:]}"
    if paths:
        more = f" and {len(paths) - 2} other tools" if len(paths) > 2 else ""
        detail += f", for {', '.join(paths[:2])}{more}"
    if code == "unguarded_access":
        detail += ". It may be absent: test it first with has or hasTag"
    elif code == "unknown_attribute" and paths:
        detail += ". Name the tools that have it, or test it first with has"
    return Finding(code, detail + ".", offset)


def _in_scope(statement: Statement, message: str) -> Finding:
    start, end = statement.parts.scope
    quoted_part = re.search(r"`([^`]+)`", message)
    at = statement.text.find(quoted_part[1], start, end) if quoted_part else -1
    return _error(message, max(at, start), ())


def _reads(expr: pst.Expr) -> bool:
    """Whether this expression is ``context.arguments`` or tests its presence."""
    return expr == _ARGUMENTS or (
        isinstance(expr, pst.HasAttr) and expr.base == CONTEXT and expr.attrs[0] == "arguments"
    )


def _argument_names(statement: Statement) -> dict[str, int] | None:
    """The arguments that a statement reads, with their first positions; ``None`` if it can read any."""
    arguments: dict[str, int] = {}
    inside: set[int] = set()
    for each in statement.expressions():
        match each.expr:
            case pst.GetAttr(base, name) | pst.HasAttr(base, (name, *_)) if base == _ARGUMENTS:
                arguments.setdefault(name, each.start)
                inside.update(map(id, each.parts))
            case pst.GetAttr() as expr if expr == _ARGUMENTS and id(each) not in inside:
                return None
    return arguments


def _unchecked_arguments(statement: Statement, tools: Sequence[KnownTool]) -> list[Finding]:
    """Warnings about arguments that have no type in any schema."""
    names = _argument_names(statement) if tools else None
    declared = {name for tool in tools for name in tool.parameters}
    declared |= {name for act, name in _PART_ARGUMENTS.items() if act in statement.acts()}
    untyped = {name for tool in tools for name in untyped_arguments(tool.parameters)}
    findings = []
    for name, offset in (names or {}).items():
        if name not in declared:
            detail = f"No tool that this reaches declares the argument {name}."
            findings.append(Finding("unknown_argument", detail, offset))
        elif name in untyped:
            detail = f"Some tool gives the argument {name} no single type, so its use could not be checked."
            findings.append(Finding("untyped_argument", detail, offset))
    return findings


def _about_tool(node: Located, tool: KnownTool) -> Iterator[pst.Expr]:
    """The expressions about the tool itself. Any tool serves to find them."""
    if _truth(node.expr, tool) is not None:
        yield node.expr
        return
    for part in node.parts:
        yield from _about_tool(part, tool)


def _settled(node: Any, tool: KnownTool) -> Any:
    """A part of the engine's tree with expressions about the tool itself replaced by true or false."""
    if isinstance(node, tuple):
        return tuple(_settled(each, tool) for each in node)
    if isinstance(node, Mapping):
        return pst.FrozenMap({name: _settled(each, tool) for name, each in node.items()})
    if not is_dataclass(node) or isinstance(node, type):
        return node
    truth = _truth(node, tool)
    if truth is not None:
        return pst.BoolLit(truth)
    return type(node)(*(_settled(getattr(node, each.name), tool) for each in fields(node)))


def _truth(node: Any, tool: KnownTool) -> bool | None:
    match node:
        case pst.BinaryOp("contains", pst.Set(elements), right):
            value = _of_tool(right, tool)
            known = all(isinstance(each, _CONSTANTS) for each in elements)
            return value in elements if value is not None and known else None
        case pst.BinaryOp("in", pst.Var("resource"), pst.EntityLit(uid)):
            return uid in (_uid("Tool", tool.path), _uid("Server", tool.slug))
        case pst.BinaryOp("eq" | "not_eq" as op, left, right):
            for compared, constant in ((left, right), (right, left)):
                value = _of_tool(compared, tool)
                if value is not None and isinstance(constant, _CONSTANTS):
                    return (value == constant) is (op == "eq")
    return None


def _of_tool(expr: pst.Expr, tool: KnownTool) -> pst.Lit | None:
    """The value of an expression about the tool itself."""
    match _path(expr):
        case ("resource",):
            return pst.EntityLit(_uid("Tool", tool.path))
        case ("resource", "name"):
            return pst.StringLit(tool.name)
        case ("resource", "risk"):
            return pst.StringLit(tool.risk)
        case ("resource", "server"):
            return pst.EntityLit(_uid("Server", tool.slug))
        case ("resource", "server", "slug"):
            return pst.StringLit(tool.slug)
    return None


def _uid(type: str, id: str) -> pst.EntityUid:
    return pst.EntityUid(pst.EntityType(type), id)


def _path(expr: pst.Expr) -> tuple[str, ...]:
    """The names of ``a.b.c`` including the variable; empty if it does not start with a variable."""
    names: tuple[str, ...] = ()
    while isinstance(expr, pst.GetAttr):
        names = (expr.attr, *names)
        expr = expr.base
    return (expr.name, *names) if isinstance(expr, pst.Var) else ()


def _odd_values(statement: Statement) -> list[Finding]:
    """Comparisons with an impossible value, such as ``resource.risk == "reading"``."""
    findings = []
    for each in statement.expressions():
        match each.expr:
            case pst.BinaryOp("eq" | "not_eq", left, _):
                compared, constants = each.parts[1], each.parts[:1]
                if not isinstance(left, pst.StringLit):
                    compared, constants = each.parts[0], each.parts[1:]
            case pst.BinaryOp("contains", pst.Set(), _):
                compared, constants = each.parts[1], each.parts[0].parts
            case _:
                continue
        *owners, name = _path(compared.expr) or ("",)
        allowed = _VALUES.get(name)
        if allowed is None or _OWNERS[name] not in owners:
            continue
        for constant in constants:
            if isinstance(constant.expr, pst.StringLit) and constant.expr.value not in allowed:
                detail = f"{name} is never {quoted(constant.expr.value)}."
                findings.append(Finding("unknown_value", detail, constant.start))
    return findings
