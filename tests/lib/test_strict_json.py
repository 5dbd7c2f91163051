"""Strict JSON: one meaning for every text, and one kind of error for all others."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.lib import strict_json
from app.lib.strict_json import StrictJsonError, canonical, dumps, envelope_case_variant, loads

REFUSED = [
    (b"", "syntax"),
    (b"{", "syntax"),
    (b"{} {}", "syntax"),
    (b"[1,]", "syntax"),
    (b"'a'", "syntax"),
    (b'"a\x00b"', "syntax"),
    (b'"tab\there"', "syntax"),
    (b"\x0b1", "syntax"),
    (b"\xef\xbb\xbf{}", "encoding"),
    ("{}".encode("utf-16"), "encoding"),
    (b'"\xff"', "encoding"),
    (b'"\xed\xa0\x80"', "encoding"),
    (b'{"a":1,"a":1}', "duplicate_key"),
    (b'{"method":"a","\\u006dethod":"b"}', "duplicate_key"),
    (b'[{"x":{"a":1,"b":2,"a":3}}]', "duplicate_key"),
    (b"NaN", "number"),
    (b'{"a":[-Infinity]}', "number"),
    (b"1e400", "number"),
    (b"-1e400", "number"),
    (b"9" * 401, "number"),
    (b"9" * 10_000, "number"),
    (b'"\\ud800"', "string"),
    (b'"\\uDC00\\ud800"', "string"),
    (b'{"\\udfff":1}', "string"),
    (b'{"a":["\\u0000"]}', "string"),
    (b'{"\\u0000":1}', "string"),
    (b"[" * 65 + b"]" * 65, "depth"),
    (b'{"a":' * 65 + b"1" + b"}" * 65, "depth"),
    (b"[" * 200_000, "depth"),
    (b"[" * 500_000, "size"),
    (b"[" + b"1," * 250_000 + b"1]", "size"),
    (b"[" + b"[]," * 250_000 + b"[]]", "size"),
    (b"[" + b'{"a":1},' * 250_000 + b"1]", "size"),
    (b"[" + b'"",' * 2_000_000 + b'""]', "size"),
    (b'{"a":' * 200_000, "depth"),
]


@pytest.mark.parametrize(("data", "code"), REFUSED)
def test_refuses_what_two_parsers_could_read_differently(data: bytes, code: str) -> None:
    with pytest.raises(StrictJsonError) as caught:
        loads(data)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b' {"a" : [1, 2.5, "x", null, true]}\r\n', {"a": [1, 2.5, "x", None, True]}),
        (b"18446744073709551617", 2**64 + 1),
        (b"9" * 400, int("9" * 400)),
        (b'"\\ud83d\\ude00 \\\\u0000"', "\U0001f600 \\u0000"),
        ('"\u00e9"'.encode(), "\u00e9"),
        (b"[" * 64 + b"]" * 64, None),
    ],
)
def test_reads_what_has_one_meaning(data: bytes, value: object) -> None:
    read = loads(data)
    if value is not None:
        assert read == value


def test_many_objects_side_by_side_are_not_deep() -> None:
    assert loads(b"[" + b",".join([b'{"a":[]}'] * 5000) + b"]", max_depth=3)


@given(st.binary(max_size=200))
def test_raises_nothing_but_its_own_error(data: bytes) -> None:
    try:
        value = loads(data)
    except StrictJsonError:
        return
    assert loads(dumps(value)) == value


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_is_written_reads_back_the_same(value: strict_json.JsonValue) -> None:
    assert loads(dumps(value)) == value
    assert loads(canonical(value)) == value


def test_canonical_form_does_not_depend_on_order_or_spaces_and_keeps_integers_exact() -> None:
    one = loads(b'{"b": 9007199254740993, "a": {"z": 1.50, "\\u0079": "\\u00e9"}}')
    two = loads('{"a":{"y":"\u00e9","z":1.5},"b":9007199254740993}'.encode())
    assert canonical(one) == canonical(two) == '{"a":{"y":"\u00e9","z":1.5},"b":9007199254740993}'.encode()
    assert canonical(1) != canonical(1.0)


def test_never_writes_what_it_would_not_read() -> None:
    for value in (float("nan"), float("inf"), "\ud800"):
        with pytest.raises(ValueError):  # noqa: PT011  the standard library's own
            dumps(value)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ({"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"name": "a", "arguments": {"NAME": 1}}}, None),
        ({"jsonrpc": "2.0", "Method": "x"}, "Method"),
        ({"method": "x", "METHOD": "y"}, "METHOD"),
        ({"param\u017f": {}}, "param\u017f"),
        ({"params": {"Name": "a"}}, "params.Name"),
        ({"params": {"name": "a", "Arguments": {}}}, "params.Arguments"),
        ({"params": {"_META": {}}}, "params._META"),
        ({"params": {"requestState": "a", "RequestState": "b"}}, "params.RequestState"),
        ({"params": {"ref": {"type": "ref/prompt"}, "Ref": {"type": "ref/resource"}}}, "params.Ref"),
        ({"params": {"ref": {"type": "ref/prompt", "Type": "ref/resource"}}}, "params.ref.Type"),
        ({"params": {"ref": {"type": "ref/prompt", "name": "a", "title": "b"}}}, None),
        ([], None),
    ],
)
def test_finds_envelope_keys_that_differ_only_by_case(
    message: strict_json.JsonValue, found: str | None
) -> None:
    assert envelope_case_variant(message) == found


def values_in(value: Any) -> int:
    """The number of values in a value; an empty list or object counts for two."""
    if not isinstance(value, dict | list):
        return 1
    within = value.values() if isinstance(value, dict) else value
    return 1 + (sum(map(values_in, within)) or 1)


TEXTS = st.text(st.sampled_from('ab\\",[]{}:\n\u00e9'), max_size=8)
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=40,
)


@given(NESTED, st.integers(1, 40), st.booleans())
def test_values_are_counted_but_not_what_is_written_in_texts(value: Any, most: int, escaped: bool) -> None:
    written = json.dumps(value, ensure_ascii=escaped).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "MAX_VALUES", most)
        # A text of less than twice this length cannot have as many values.
        assert strict_json.has_too_many_values(written + b" " * 2 * most) == (values_in(value) > most)


def test_a_long_text_may_hold_whatever_looks_like_values() -> None:
    text = 'a,"b",[{\\"c\\":1}],' * 200_000
    assert loads(dumps([text])) == [text]
