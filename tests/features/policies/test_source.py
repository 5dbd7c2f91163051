"""The text of a policy is parsed safely, and errors have their place."""

import cedarpy
import pytest
from cedarpy import pst
from hypothesis import given
from hypothesis import strategies as st

from app.access.policy.checking import KnownTool, Report, check_types, reads_arguments
from app.access.policy.compiled import PublishedPolicy, compile_policy
from app.access.policy.text import (
    InvalidPolicy,
    find_excessive_nesting,
    read_statement,
    text_warnings,
    tokens_of,
    unescaped,
)
from app.access.policy.vocabulary import quoted
from app.domain.arguments import ArgumentKind, ArgumentType
from app.lib.ids import new_id

CALL = 'forbid (principal, action == Action::"call_tool", resource)'
STRING, LONG = ArgumentType(ArgumentKind.STRING), ArgumentType(ArgumentKind.INTEGER)
TOOLS = [
    KnownTool("git", "log", "read", {"repo": ArgumentType(ArgumentKind.STRING, True), "count": LONG}),
    KnownTool(
        "pay",
        "refund",
        "destructive",
        {"amount": ArgumentType(ArgumentKind.INTEGER, True), "account": STRING, "any": ArgumentType(ArgumentKind.ANY)},
    ),
    KnownTool("pay", "tip", "write", {"amount": ArgumentType(ArgumentKind.NUMBER, True)}),
]  # fmt: skip


def checked(text: str) -> Report:
    return check_types(read_statement(text), TOOLS)


def fault(text: str) -> str | None:
    """Why a text that bypassed the API could not be evaluated."""
    return compile_policy(PublishedPolicy(new_id(), 1, text)).fault


def places(text: str) -> list[tuple[str, int, int]]:
    """(code, line, column) of the errors in a text."""
    try:
        findings = checked(text).errors
    except InvalidPolicy as refused:
        findings = refused.findings
    return [(finding.code, *finding.place(text)) for finding in findings]


def warned(text: str) -> list[str]:
    report = checked(text)
    assert report.errors == []
    return [finding.code for finding in report.warnings + text_warnings(read_statement(text))]


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("", "not_one_statement", 1, 1),
        ("// nothing\n", "not_one_statement", 1, 1),
        (f"{CALL};\n permit (principal, action, resource);", "not_one_statement", 2, 2),
        (f"{CALL}\nwhen {{ true ", "syntax", 2, 11),
        (f"{CALL}\nwhen\n{{ 1 == f( }};", "syntax", 3, 11),
        (f"{CALL}\n wen {{ true }};", "syntax", 2, 2),
        (f"{CALL} when {{\n  user == 1 }};", "syntax", 2, 3),
        (f"{CALL} when {{\n \"é\" == 'x' }};", "syntax", 2, 9),
        (f'{CALL} when {{\n "open }};', "syntax", 2, 2),
        (f"{CALL} when {{\n 9223372036854775808 > 1 }};", "syntax", 2, 2),
        ("permit (principal == ?principal, action, resource);", "slot", 1, 22),
        ('@reason("a")\n@reason("b") ' + CALL + ";", "syntax", 2, 2),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(text: str, code: str, line: int, column: int) -> None:
    assert places(text) == [(code, line, column)]


@pytest.mark.parametrize(
    "inside",
    [
        "(" * 5000 + "true" + ")" * 5000,
        "[" * 5000 + "1" + "]" * 5000 + " == 1",
        "{a:" * 5000 + "1" + "}" * 5000 + " == 1",
        "if true then " * 2500 + "true" + " else true" * 2500,
        " && ".join(["true"] * 2500),
        "context" + ".a" * 5000,
        'context["a"]' + '["a"]' * 4000,
        "context has " + ".".join("a" * 5000),
        "context.contains(" * 2500 + "1" + ")" * 2500,
        "true } when { " * 1500 + "true",
        "!" * 9000 + "true",
    ],
)
def test_no_text_however_deep_reaches_the_recursion_of_the_engine(inside: str) -> None:
    """The engine would end the process: it has one stack, and no limit."""
    assert places(f"{CALL} when {{ {inside} }};")[0][0] in {"too_complex", "syntax"}
    assert places(f"{CALL} when {{ {inside[: len(inside) // 2]}")[0][0] in {"too_complex", "syntax"}


def nested_has(levels: int, paths: str = "a.b") -> str:
    condition = "context"
    for _ in range(levels):
        condition = f"({condition} has {paths})"
    return f"{CALL} when {{ {condition} }};"


def test_no_text_makes_the_engine_write_an_exponential_tree() -> None:
    """The engine copies what is before ``has a.b``. At 40 levels, it blocks the interpreter for days."""
    assert [code for code, _, _ in places(nested_has(13))] == ["too_complex"]
    assert places(nested_has(3, "a.b.c.d.e.f.g.h.i.j.k.l"))[0][0] == "too_complex"
    assert fault(nested_has(13)) is not None
    assert find_excessive_nesting(tokens_of(nested_has(5))) is None
    chain = " && ".join(f"context has a{number}.b.c" for number in range(20))
    assert (
        find_excessive_nesting(tokens_of(f"{CALL} when {{ {chain} || [{chain}, {chain}].isEmpty() }};"))
        is None
    )


def test_long_lists_are_not_deep() -> None:
    names = ", ".join(f'"tool{number}"' for number in range(1500))
    assert find_excessive_nesting(tokens_of(f"{CALL} when {{ [{names}].contains(resource.name) }};")) is None


def is_read(text: str) -> bool:
    """Whether the engine parses it as one policy."""
    try:
        return len(cedarpy.policies_to_pst(text).static_policies) == 1
    except ValueError:
        return False


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    try:
        checked(text)
    except InvalidPolicy as refused:
        for finding in refused.findings:
            line, column = finding.place(text)
            assert line >= 1 <= column


words = st.sampled_from(
    'forbid permit ( ) { } [ ] , ; . :: == && || ! - "x" 7 if then else has in like is when unless principal action '
    'resource context arguments amount Action "call_tool" Tool "pay/tip" @ reason has true time hour contains'.split()
)


@given(st.lists(words, max_size=40))
def test_any_words_are_a_policy_or_refused(words: list[str]) -> None:
    text = f"{CALL} when {{ {' '.join(words)} }};"
    try:
        checked(text)
    except InvalidPolicy:
        assert not is_read(text)


@given(st.text())
def test_a_quoted_text_stands_for_itself(text: str) -> None:
    clean = text.encode("utf-8", "ignore").decode()
    assert unescaped(quoted(clean)) == clean


@pytest.mark.parametrize(
    ("condition", "errors"),
    [
        # The types of the arguments of each reached tool.
        ("context.arguments.amount > 100", [("unknown_attribute", 2, 1), ("wrong_type", 2, 1)]),
        ('resource == Tool::"pay/refund" &&\ncontext.arguments.amount > 100', []),
        ('["refund"].contains(resource.name) &&\ncontext.arguments.amount > 100', []),
        ('resource in Server::"pay" &&\ncontext.arguments.amount > 100', [("wrong_type", 3, 1)]),
        ('resource.risk == "destructive" &&\ncontext.arguments.account == "x"', [("unguarded_access", 3, 1)]),
        ('resource.name == "tip" && context.arguments.amount.greaterThan(decimal("100.0"))', []),
        ('resource != Tool::"pay/refund" || context.arguments.amount >\n"x"', [("wrong_type", 2, 35)]),
        ("context.arguments has count &&\ncontext.arguments.count == 5", []),
        ("if context.arguments has repo then\ncontext.arguments.count == 5 else false", [("unguarded_access", 3, 1)]),
        ('resource.name == "refund" && context.arguments.any == "what the schema leaves open"', []),
        # What applies to any call.
        ('context.time.hour > 8 &&\n context.time.hour == "x"', [("wrong_type", 3, 2)]),
        ('principal.getTag("a") == "b"', [("unguarded_access", 2, 1)]),
        ('context has ip && context.ip.isInRange(\nip("10.0.0.0/88"))', [("invalid", 3, 1)]),
        ("context.approved", [("unknown_attribute", 2, 1)]),
    ],
)  # fmt: skip
def test_types_are_held_to_the_tools_that_a_policy_is_about(
    condition: str, errors: list[tuple[str, int, int]]
) -> None:
    assert places(f"{CALL} when {{\n{condition} }};") == errors


def test_arguments_are_only_those_of_calls() -> None:
    text = "forbid (principal, action, resource) when {\n context.arguments has repo };"
    assert ("unknown_attribute", 2, 2) in places(text)
    guarded = text.replace("context", 'action == Action::"call_tool" && context')
    assert places(guarded) == []
    uri = (
        'forbid (principal, action == Action::"use_resources", resource) when { context.arguments has uri };'
    )
    assert warned(uri) == []


@pytest.mark.parametrize(
    ("scope", "code", "column"),
    [
        ('principal, action == Action::"calltool", resource', "unknown_name", 30),
        ('principal == Person::"x", action, resource', "unknown_name", 22),
        ('principal, action == Action::"call_tool", resource == Server::"x"', "inapplicable", 8),
    ],
)
def test_a_scope_that_names_what_does_not_exist_is_refused(scope: str, code: str, column: int) -> None:
    assert places(f"forbid ({scope});") == [(code, 1, column)]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        (f"{CALL} when {{ false }};", ["never_matches"]),
        (f"{CALL} when {{ context.arguments has nothing }};", ["unknown_argument"]),
        (f'{CALL} when {{ resource.name == "refund" && context.arguments.any == "x" }};', ["untyped_argument"]),
        (f'{CALL} when {{ resource.risk == "reading" }};', ["unknown_value"]),
        (f'{CALL} when {{ ["sunday", "Monday"].contains(context.time.weekday) }};', ["unknown_value"]),
        (f'@advice("x") {CALL};', ["unknown_annotation"]),
        (f'{CALL} when {{ resource.name == "re\u202efund" }};', ["unseen_character"]),
        (f'{CALL} when {{ resource == Tool::"git/log" && context.arguments has amount }};', ["never_matches"]),
        (f"{CALL} when {{ context.time.hour < 8 }};", []),
    ],
)  # fmt: skip
def test_what_may_not_be_meant_is_a_warning(text: str, codes: list[str]) -> None:
    assert warned(text) == codes


def test_of_many_tools_that_are_unlike_some_are_checked_and_it_is_said() -> None:
    unlike = [KnownTool("many", f"t{number}", "read", {f"a{number}": STRING}) for number in range(150)]
    whole = read_statement(f"{CALL} when {{ context.arguments == {{}} }};")
    assert "not_all_checked" in {finding.code for finding in check_types(whole, unlike).warnings}
    alike = [KnownTool("many", f"t{number}", "read", {"a": STRING}) for number in range(150)]
    assert check_types(whole, alike).warnings == []


@pytest.mark.parametrize(
    "annotations",
    [
        "@require_approval",
        '@require_approval("a\\nb")',
        '@quota("0 per day")',
        '@quota("5 per hour")',
        '@quota("5 per day") @require_approval("g")',
        f'@reason("{"x" * 501}")',
        '@reason("two\\nlines")',
    ],
)
def test_our_annotations_say_what_they_can_mean(annotations: str) -> None:
    assert {code for code, _, _ in places(f"{annotations} {CALL};")} == {"bad_annotation"}
    assert fault(f"{annotations} {CALL};") is not None


@pytest.mark.parametrize("annotation", ['@require_approval("g")', '@quota("5 per day")'])
def test_asking_and_counting_is_for_what_forbids_calls(annotation: str) -> None:
    assert places(f"{annotation} {CALL};") == []
    assert fault(f"{annotation} {CALL};") is None
    for scope in ("permit (principal, action, resource)", "forbid (principal, action, resource)",
                 'forbid (principal, action == Action::"use_server", resource)'):  # fmt: skip
        assert {code for code, _, _ in places(f"{annotation} {scope};")} == {"bad_annotation"}
        assert fault(f"{annotation} {scope};") is not None


def test_schemas_are_needed_only_where_arguments_are_read() -> None:
    assert not reads_arguments(read_statement(f"{CALL} when {{ context.time.hour < 8 }};"))
    for read in (
        'context["arguments"].amount > 1',
        "context has arguments.amount",
        "context.arguments == {}",
    ):
        assert reads_arguments(read_statement(f"{CALL} when {{ {read} }};")), read


def test_a_deep_text_that_came_past_the_api_is_a_fault_and_no_crash() -> None:
    text = f"{CALL} when {{ {'(' * 5000}true{')' * 5000} }};"
    assert fault(text) is not None


def test_each_expression_is_located_where_it_starts() -> None:
    """The engine's tree has no positions, sorts records, and expands ``has a.b``: the tokens are read in parallel."""
    written = [
        ('(({b: 1, "a": - 2} == {})', pst.Record, ["{b: 1", "{}"]),
        ("&& context has a.b)", pst.HasAttr, ["context has a.b", "context has a.b"]),
        ('|| !(ip("::1").isLoopback())', pst.UnaryOp, ["!(ip(", 'ip("::1").is', 'ip("::1").is']),
        ('|| [principal is Identity in (Group::"g")].isEmpty()', pst.Is, ["principal is"]),
        ('|| (context["x"])[" y"] like "z*"', pst.Like, ['(context["x"])']),
        ("|| (if (1 < 2) then context.b else (true))", pst.BoolLit, ["true))"]),
        ("|| ((1) + 2 * 3 == 4)", pst.LongLit, ["1) + 2", "2 * 3", "3 == 4", "4)"]),
    ]
    whole = f"{CALL} when {{ true }} unless {{ {' '.join(part for part, _, _ in written)} }};"
    located = read_statement(whole).expressions()
    for part, kind, starts in written:
        begin = whole.index(part)
        found = [
            each.start
            for each in located
            if isinstance(each.expr, kind) and begin <= each.start < begin + len(part)
        ]
        assert [whole[start : start + len(text)] for start, text in zip(found, starts, strict=True)] == starts
