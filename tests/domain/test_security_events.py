"""Properties of event parsing: any input gives the subject it names, or an error without quotes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.security_events import (
    MAX_ALIASES,
    ByAccount,
    ByEmail,
    ById,
    ByIssuer,
    EventType,
    SecurityEvent,
    Subject,
    Unreadable,
    happened_at,
    read_detail,
    read_event,
    read_subject,
)

Json = dict[str, Any]
TEXTS = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=20)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
WORDS = st.sampled_from(
    "format complex aliases email iss_sub iss sub opaque id user session account identifiers uri acct:a@b "
    "phone_number tenant".split()
)
# Nearly valid input is where parsers fail.
NEARLY = st.recursive(
    WORDS | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
SIMPLE: st.SearchStrategy[Json] = st.one_of(
    TEXTS.map(lambda text: {"format": "email", "email": text}),
    TEXTS.map(lambda text: {"format": "account", "uri": f"acct:{text}"}),
    TEXTS.map(lambda text: {"format": "opaque", "id": text}),
    st.tuples(TEXTS, TEXTS).map(lambda pair: {"format": "iss_sub", "iss": pair[0], "sub": pair[1]}),
)
UNKNOWN = st.sampled_from(["phone_number", "did", "uri", "jwt_id", "x"]).map(
    lambda kind: {"format": kind, "x": "y"}
)


def texts_in(value: object) -> set[str]:
    """All texts in a value, at any depth."""
    if isinstance(value, dict):
        return set(value) | {text for inner in value.values() for text in texts_in(inner)}
    if isinstance(value, list):
        return {text for inner in value for text in texts_in(inner)}
    return {value} if isinstance(value, str) else set()


def names(subject: Subject) -> set[str]:
    """All texts by which an identity could be found."""
    found: set[str] = set()
    for one in (*subject.people, *subject.sessions):
        match one:
            case ByEmail(text) | ById(text):
                found.add(text)
            case ByAccount(text):
                found.add(f"acct:{text}")
            case ByIssuer(issuer, subject_there):
                found |= {issuer, subject_there}
    return found


@given(ANYTHING | NEARLY)
def test_any_subject_names_what_it_says_or_is_refused(value: object) -> None:
    try:
        subject = read_subject(value)
    except Unreadable:
        return
    assert names(subject) <= texts_in(value)
    assert len(subject.people) <= MAX_ALIASES


@given(SIMPLE)
def test_a_member_more_or_less_is_refused(simple: Json) -> None:
    assert len(read_subject(simple).people) == 1
    for changed in (simple | {"user": simple}, dict(list(simple.items())[:-1])):
        with pytest.raises(Unreadable):
            read_subject(changed)


@given(st.lists(SIMPLE | UNKNOWN, min_size=1, max_size=MAX_ALIASES))
def test_aliases_name_what_each_of_them_names_in_whatever_order(entries: list[Json]) -> None:
    alone = {one for entry in entries for one in read_subject(entry).people}
    for order in (entries, entries[::-1]):
        assert set(read_subject({"format": "aliases", "identifiers": order}).people) == alone


@given(
    st.dictionaries(
        st.sampled_from(["user", "session", "device", "tenant", "group", "x"]), SIMPLE, min_size=1
    )
)
def test_of_a_complex_subject_the_user_and_the_session_are_gone_by_and_nothing_else(
    parts: dict[str, Json],
) -> None:
    subject = read_subject({"format": "complex", **parts})
    assert subject.people == (read_subject(parts["user"]).people if "user" in parts else ())
    assert subject.sessions == (read_subject(parts["session"]).people if "session" in parts else ())
    assert subject.members == parts.keys()
    for member in parts:
        assert subject.lacks(frozenset({member})) == (member not in {"user", "session"})
    assert not subject.lacks(frozenset({"elsewhere"}))


@given(ANYTHING)
def test_whatever_an_event_says_it_is_read_or_refused(value: object) -> None:
    for type in EventType:
        try:
            said, payload = read_event({type.value: value})
            assert said == type
            detail = read_detail(said, payload)
            assert 0 <= happened_at(payload, 10.0, 20.0) <= 20.0
        except Unreadable:
            continue
        assert SecurityEvent("i", "j", said, Subject(), 0.0, detail).known is type
    try:
        read_event(value)
    except Unreadable:
        return
    assert isinstance(value, dict)
