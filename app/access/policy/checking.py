"""Checks a policy against the vocabulary and against the approved input schemas of the tools that it reaches.

The engine looks at types for any tool at once; here each tool's own arguments count, and what the policy says of the
tool (``resource == Tool::...``, its name, its risk) is settled first, so that it is held to the tools it is about.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import cedarpy

from app.access.policy.locating import Budget, Edits, Locator, edited
from app.access.policy.source import Node
from app.access.policy.statement import Finding, Statement
from app.access.policy.vocabulary import quoted, schema_text, untyped_arguments
from app.domain.arguments import ArgumentType
from app.domain.policy import Act

MOST_VARIANTS = 100
MOST_ERRORS = 20

_PREFIX = re.compile(r"^for policy `policy0`, ")
_OF_ARGUMENT = re.compile(
    r"attribute `arguments\.(?P<name>[^.`\[]+)[^`]*` in context for Action::\"call_tool\""
)
_INAPPLICABLE = "unable to find an applicable action"
_MARKER = "marked by scopegate"
_CODES = (
    ("unrecognized", "unknown_name"),
    (_INAPPLICABLE, "inapplicable"),
    ("unable to guarantee safety", "unguarded_access"),
    ("not found", "unknown_attribute"),
    ("unexpected type", "wrong_type"),
    ("must be", "wrong_type"),
    ("types", "wrong_type"),
)
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


@dataclass(frozen=True, slots=True)
class _Variant:
    """One way to look at a statement: a head, what is settled of its conditions, and the arguments that there are."""

    head: str
    schema: str
    edits: Edits = ()
    lenient: frozenset[str] | None = frozenset()
    """Arguments of which nothing is known; ``None``: of any."""


class _Engine:
    """The type checker of Cedar on one schema."""

    def __init__(self, schema: str) -> None:
        self._schema = _parsed(schema)

    def __call__(self, text: str) -> frozenset[str]:
        result = cedarpy.validate_policies(text, self._schema, release_gil=True)
        return frozenset(_PREFIX.sub("", error.error) for error in result.errors)


@lru_cache(maxsize=64)
def _parsed(schema: str) -> cedarpy.Schema:
    return cedarpy.Schema.from_str(schema, release_gil=True)


def reads_arguments(statement: Statement) -> bool:
    """Whether any condition looks at the arguments of the call."""
    return any(_reads(node) for node in statement.nodes())


def check_types(statement: Statement, tools: Sequence[KnownTool]) -> Report:
    """Check a statement; ``tools`` are those that its head reaches, needed only where it reads arguments."""
    head = statement.text[slice(*statement.parts.head)]
    wrong = _Engine(schema_text())(f"{statement.parts.effect} {head};")
    if wrong:
        # That no action is left follows from a name that nothing has.
        told = {message for message in wrong if not message.startswith(_INAPPLICABLE)} or wrong
        return Report([_in_head(statement, message) for message in sorted(told)])
    report = Report(warnings=_odd_values(statement))
    variants = _variants(statement, tools)
    matched = _check_variants(statement, variants, report)
    looked_at = sum(map(len, variants.values()))
    if reads_arguments(statement) and Act.CALL_TOOL in statement.acts() and looked_at < len(tools):
        detail = f"The tools that this reaches differ in more than {MOST_VARIANTS} ways; the rest were not checked."
        report.warnings.append(Finding("not_all_checked", detail, statement.parts.start))
    unknown = _unchecked_arguments(statement, tools)
    if report.errors:
        return report
    report.warnings += unknown
    if not (matched or unknown) and all(each.lenient is not None for each in variants):
        detail = "This can never match: with the types that there are, its conditions are always false."
        report.warnings.append(Finding("never_matches", detail, statement.parts.start))
    return report


def _check_variants(statement: Statement, variants: Mapping[_Variant, Sequence[str]], report: Report) -> bool:
    """Whether the statement can match in any variant; what is wrong in any goes into the report, each once."""
    matched, budget = False, Budget()
    failing: dict[str, tuple[_Variant, list[str]]] = {}
    for variant, paths in variants.items():
        marked = _Engine(variant.schema)(_written(statement, variant, f' when {{ context["{_MARKER}"] }}'))
        for message in marked:
            if _MARKER in message:
                matched = True
            elif not _excused(message, variant):
                failing.setdefault(message, (variant, []))[1].extend(paths)
    for message, (variant, paths) in sorted(failing.items())[:MOST_ERRORS]:
        engine = _Engine(variant.schema)
        locator = Locator(statement.text, statement.parts, variant.head, engine, variant.edits, budget)
        report.errors.append(_error(message, locator.find(message), paths))
    report.errors.sort(key=lambda finding: finding.offset)
    return matched


def _variants(statement: Statement, tools: Sequence[KnownTool]) -> dict[_Variant, list[str]]:
    """The ways to look at a statement, each with the tools that it stands for."""
    if not reads_arguments(statement):
        return {_Variant(statement.text[slice(*statement.parts.head)], schema_text()): []}
    found: dict[_Variant, list[str]] = {}
    acts = statement.acts()
    others = sorted(acts - {Act.CALL_TOOL})
    if others:
        found[_Variant(_head_for(statement, others), schema_text())] = []
    if Act.CALL_TOOL not in acts:
        return found
    head = _head_for(statement, [Act.CALL_TOOL])
    names = _argument_names(statement)
    for tool in tools:
        read = tool.parameters if names is None else {k: v for k, v in tool.parameters.items() if k in names}
        edits = tuple(_settled(statement, tool))
        variant = _Variant(head, schema_text(read), edits, untyped_arguments(read))
        if variant in found or len(found) < MOST_VARIANTS:
            found.setdefault(variant, []).append(tool.path)
    if not tools:
        found[_Variant(head, schema_text(), lenient=None)] = []
    return found


def _head_for(statement: Statement, acts: Iterable[Act]) -> str:
    """The head of a statement for these actions alone."""
    start, end = statement.parts.head
    inside = [token for token in statement.tokens if start < token.start < end - 1]
    commas, depth = [], 0
    for token in inside:
        if token.kind == "sign":
            depth += (token.text in "([{") - (token.text in ")]}")
            if token.text == "," and depth == 0:
                commas.append(token.start)
    actions = ", ".join(f'Action::"{act.value}"' for act in acts)
    first, second = commas[:2]
    return f"{statement.text[start:first]}, action in [{actions}]{statement.text[second:end]}"


def _written(statement: Statement, variant: _Variant, more: str) -> str:
    clauses = "".join(
        edited(statement.text, clause.start, clause.end, variant.edits) for clause in statement.parts.clauses
    )
    return f"{statement.parts.effect} {variant.head} {clauses}{more};"


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


def _in_head(statement: Statement, message: str) -> Finding:
    start, end = statement.parts.head
    quoted_part = re.search(r"`([^`]+)`", message)
    at = statement.text.find(quoted_part[1], start, end) if quoted_part else -1
    return _error(message, max(at, start), ())


def _reads(node: Node) -> bool:
    """Whether this very node is ``context.arguments``, or asks whether it is there."""
    if node.kind == "access":
        return node.name == "arguments" and _is_context(node.parts[0])
    if node.kind == "operator" and node.name == "has":
        return _is_context(node.parts[0]) and _path(node.parts[1])[:1] == ["arguments"]
    return False


def _is_context(node: Node) -> bool:
    return node.kind == "word" and node.name == "context"


def _path(node: Node) -> list[str]:
    """The names of ``a.b.c``, from the left."""
    names: list[str] = []
    while node.kind == "access":
        names.append(node.name)
        node = node.parts[0]
    return [node.name, *reversed(names)]


def _argument_names(statement: Statement) -> dict[str, int] | None:
    """The arguments that a statement reads and where it does first; ``None`` when it may read any."""
    found: dict[str, int] = {}
    inside: set[int] = set()
    for node in statement.nodes():
        name = _argument_of(node)
        if name is not None:
            found.setdefault(name, node.start)
            inside.add(id(node.parts[0]))
        elif _reads(node) and id(node) not in inside:
            if node.kind == "operator":
                continue
            return None
    return found


def _argument_of(node: Node) -> str | None:
    """The argument that this very node reads, or asks for."""
    if node.kind == "access" and _reads(node.parts[0]):
        return node.name
    if node.kind == "operator" and node.name == "has":
        names = _path(node.parts[1])
        if _is_context(node.parts[0]) and names[0] == "arguments" and len(names) > 1:
            return names[1]
        if _reads(node.parts[0]):
            return names[0]
    return None


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


def _settled(statement: Statement, tool: KnownTool) -> Iterable[tuple[int, int, str]]:
    """What conditions say of the tool itself, as true or false."""
    for clause in statement.parts.clauses:
        waiting = [clause.condition]
        while waiting:
            node = waiting.pop()
            truth = _truth(node, tool)
            if truth is None:
                waiting.extend(reversed(node.parts))
            else:
                yield node.start, node.end, "true" if truth else "false"


def _truth(node: Node, tool: KnownTool) -> bool | None:
    if node.kind == "call" and node.name == "contains" and len(node.parts) == 2:
        value = _of_tool(node.parts[1], tool)
        known = {_constant(part) for part in node.parts[0].parts} if node.parts[0].kind == "list" else {None}
        return None if value is None or None in known else value in known
    if node.kind != "operator" or node.name not in {"==", "!=", "in"}:
        return None
    left, right = node.parts
    if node.name == "in":
        if _of_tool(left, tool) != f"Tool::{tool.path}" or right.kind != "entity":
            return None
        return right.name in {f"Tool::{tool.path}", f"Server::{tool.slug}"}
    pairs = ((_of_tool(left, tool), _constant(right)), (_of_tool(right, tool), _constant(left)))
    for value, constant in pairs:
        if value is not None and constant is not None:
            return (value == constant) is (node.name == "==")
    return None


def _of_tool(node: Node, tool: KnownTool) -> str | None:
    """What an expression that only speaks of the tool stands for."""
    values = {
        ("resource",): f"Tool::{tool.path}",
        ("resource", "name"): tool.name,
        ("resource", "risk"): tool.risk,
        ("resource", "server"): f"Server::{tool.slug}",
        ("resource", "server", "slug"): tool.slug,
    }
    return values.get(tuple(_path(node))) if node.kind in {"word", "access"} else None


def _constant(node: Node) -> str | None:
    return node.name if node.kind in {"string", "entity"} else None


def _odd_values(statement: Statement) -> list[Finding]:
    """Comparisons with a value that there is not, as ``resource.risk == "reading"``."""
    found = []
    for node in statement.nodes():
        if node.kind == "operator" and node.name in {"==", "!="}:
            compared, constants = node.parts[0], [node.parts[1]]
            if compared.kind == "string":
                compared, constants = node.parts[1], [node.parts[0]]
        elif node.kind == "call" and node.name == "contains" and node.parts[0].kind == "list":
            compared, constants = node.parts[-1], list(node.parts[0].parts)
        else:
            continue
        names = _path(compared) if compared.kind == "access" else [""]
        allowed = _VALUES.get(names[-1])
        if allowed is None or _OWNERS[names[-1]] not in names[:-1]:
            continue
        found += [
            Finding("unknown_value", f"{names[-1]} is never {quoted(each.name)}.", each.start)
            for each in constants
            if each.kind == "string" and each.name not in allowed
        ]
    return found
