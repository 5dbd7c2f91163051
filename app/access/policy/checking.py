"""Checks a policy against the vocabulary and against the approved input schemas of the tools that it reaches.

The engine looks at types for any tool at once; here each tool's own arguments count, and what the policy says of the
tool (``resource == Tool::...``, its name, its risk) is settled first, so that it is held to the tools it is about.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import lru_cache
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
    """What checking found."""

    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    permits: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Variant:
    """One way to look at a statement: for some actions, with what is settled of its conditions, and one schema."""

    policy: pst.Template
    schema: str
    lenient: frozenset[str] | None = frozenset()
    """Arguments of which nothing is known; ``None``: of any."""


class _Engine:
    """The type checker of Cedar on one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = _parsed(schema)

    def errors(self, policy: pst.Template) -> frozenset[str]:
        """What is wrong with the types in a policy. Raises ``ValueError`` for one that nests too deeply."""
        text = str(cedarpy.PolicySet.from_pst(pst.PolicySet({}, {policy.id: policy}, ())))
        result = cedarpy.validate_policies(text, self._schema, release_gil=True)
        return frozenset(_PREFIX.sub("", error.error) for error in result.errors)


@lru_cache(maxsize=64)
def _parsed(schema: str) -> cedarpy.Schema:
    return cedarpy.Schema.from_str(schema, release_gil=True)


def reads_arguments(statement: Statement) -> bool:
    """Whether any condition looks at the arguments of the call."""
    return any(_reads(each.expr) for each in statement.expressions())


def check_types(statement: Statement, tools: Sequence[KnownTool]) -> Report:
    """Check a statement; ``tools`` are those that its scope reaches, needed only where it reads arguments."""
    wrong = _Engine(schema_text()).errors(replace(statement.policy, annotations={}, clauses=()))
    if wrong:
        # That no action is left follows from a name that nothing has.
        told = {message for message in wrong if not message.startswith(_INAPPLICABLE)} or wrong
        return Report([_in_scope(statement, message) for message in sorted(told)])
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
    """Whether the statement can match in any variant; what is wrong in any goes into the report, each once."""
    matched, budget = False, _Budget()
    marker = pst.When(pst.GetAttr(CONTEXT, _MARKER))
    failing: dict[str, tuple[_Variant, list[KnownTool]]] = {}
    for variant, tools in variants.items():
        policy = variant.policy
        marked = _Engine(variant.schema).errors(replace(policy, clauses=(*policy.clauses, marker)))
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


@dataclass(slots=True)
class _Budget:
    """How many questions may still be asked of the engine, about all errors of a text together."""

    left: int = MAX_QUESTIONS


class _Locator:
    """Finds where in a statement an error about types is, by asking the engine about ever smaller parts.

    ``tool`` is one that the variant stands for, if it stands for tools.
    """

    def __init__(
        self, statement: Statement, variant: _Variant, tool: KnownTool | None, budget: _Budget
    ) -> None:
        self._statement, self._policy, self._tool, self._budget = statement, variant.policy, tool, budget
        self._engine = _Engine(variant.schema)

    def find(self, message: str) -> int:
        """The offset of the smallest part that has this error, or of the scope when none is found."""
        parts = self._statement.parts
        guards: _Guards = ()
        for condition, clause in zip(parts.conditions, self._policy.clauses, strict=True):
            if self._has(condition, guards, message):
                return self._below(condition, guards, message)
            guards = (*guards, clause)
        return parts.scope[0]

    def _below(self, node: Located, guards: _Guards, message: str) -> int:
        """The start of the smallest part of an expression, which has the error, that has it too."""
        for part, its_guards in self._parts_of(node, guards):
            if self._has(part, its_guards, message):
                return self._below(part, its_guards, message)
        return node.start

    def _has(self, node: Located, guards: _Guards, message: str) -> bool:
        """Whether a part has the error, where what stands before it holds. Of any type, it equals itself."""
        self._budget.left -= 1
        if self._budget.left < 0:
            return False
        part = self._settled(node)
        asked = pst.When(pst.BinaryOp("eq", part, part))
        try:
            return message in self._engine.errors(replace(self._policy, clauses=(*guards, asked)))
        except ValueError:
            # The comparison nests deeper than the engine takes.
            return False

    def _parts_of(self, node: Located, guards: _Guards) -> Iterator[tuple[Located, _Guards]]:
        match node.expr:
            case pst.BinaryOp("and" | "or" as op, _, _):
                # The operands of a chain one by one: each is a short question.
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
    """What a chain of one operator joins, from the left."""
    start, found = node.start, []
    # One in parentheses starts after them: it is an operand of its own.
    while isinstance(node.expr, pst.BinaryOp) and node.expr.op == op and node.start == start:
        found.append(node.parts[1])
        node = node.parts[0]
    return [node, *reversed(found)]


def _variants(statement: Statement, tools: Sequence[KnownTool]) -> dict[_Variant, list[KnownTool]]:
    """The ways to look at a statement, each with the tools that it stands for."""
    policy = replace(statement.policy, annotations=pst.FrozenMap())
    if not reads_arguments(statement):
        return {_Variant(policy, schema_text()): []}
    found: dict[_Variant, list[KnownTool]] = {}
    acts = statement.acts()
    others = sorted(acts - {Act.CALL_TOOL})
    if others:
        found[_Variant(_for_acts(policy, others), schema_text())] = []
    if Act.CALL_TOOL not in acts:
        return found
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
        if key not in known and len(found) < MAX_VARIANTS:
            settled = replace(policy, clauses=_settled(policy.clauses, tool))
            known[key] = _Variant(settled, schema_text(read), untyped_arguments(read))
            found[known[key]] = []
        if key in known:
            found[known[key]].append(tool)
    if not tools:
        found[_Variant(policy, schema_text(), lenient=None)] = []
    return found


def _for_acts(policy: pst.Template, acts: Iterable[Act]) -> pst.Template:
    """A policy for these actions alone."""
    uids = tuple(pst.EntityUid(pst.EntityType("Action"), act.value) for act in acts)
    return replace(policy, action=pst.ActionIn(uids))


def _excused(message: str, variant: _Variant) -> bool:
    """Whether a message is about what this variant leaves open."""
    if message.startswith(_INAPPLICABLE):
        return True
    found = _OF_ARGUMENT.search(message)
    return found is not None and (variant.lenient is None or found["name"] in variant.lenient)


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
    """Whether this very expression is ``context.arguments``, or asks whether it is there."""
    return expr == _ARGUMENTS or (
        isinstance(expr, pst.HasAttr) and expr.base == CONTEXT and expr.attrs[0] == "arguments"
    )


def _argument_names(statement: Statement) -> dict[str, int] | None:
    """The arguments that a statement reads and where it does first; ``None`` when it may read any."""
    found: dict[str, int] = {}
    inside: set[int] = set()
    for each in statement.expressions():
        match each.expr:
            case pst.GetAttr(base, name) | pst.HasAttr(base, (name, *_)) if base == _ARGUMENTS:
                found.setdefault(name, each.start)
                inside.update(map(id, each.parts))
            case pst.GetAttr() as expr if expr == _ARGUMENTS and id(each) not in inside:
                return None
    return found


def _unchecked_arguments(statement: Statement, tools: Sequence[KnownTool]) -> list[Finding]:
    """Warnings about arguments that are read, and that no schema gives a type."""
    names = _argument_names(statement) if tools else None
    declared = {name for tool in tools for name in tool.parameters}
    declared |= {name for act, name in _PART_ARGUMENTS.items() if act in statement.acts()}
    untyped = {name for tool in tools for name in untyped_arguments(tool.parameters)}
    found = []
    for name, offset in (names or {}).items():
        if name not in declared:
            detail = f"No tool that this reaches declares the argument {name}."
            found.append(Finding("unknown_argument", detail, offset))
        elif name in untyped:
            detail = f"Some tool gives the argument {name} no single type, so its use could not be checked."
            found.append(Finding("untyped_argument", detail, offset))
    return found


def _about_tool(node: Located, tool: KnownTool) -> Iterator[pst.Expr]:
    """The expressions that speak of the tool itself. Any tool will do to find them."""
    if _truth(node.expr, tool) is not None:
        yield node.expr
        return
    for part in node.parts:
        yield from _about_tool(part, tool)


def _settled(node: Any, tool: KnownTool) -> Any:
    """A part of the engine's tree, with what it says of the tool itself replaced by true or false."""
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
    """What an expression that only speaks of the tool stands for."""
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
    """The names of ``a.b.c``, from the variable on; none where it starts with anything else."""
    names: tuple[str, ...] = ()
    while isinstance(expr, pst.GetAttr):
        names = (expr.attr, *names)
        expr = expr.base
    return (expr.name, *names) if isinstance(expr, pst.Var) else ()


def _odd_values(statement: Statement) -> list[Finding]:
    """Comparisons with a value that there is not, as ``resource.risk == "reading"``."""
    found = []
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
                found.append(Finding("unknown_value", detail, constant.start))
    return found
