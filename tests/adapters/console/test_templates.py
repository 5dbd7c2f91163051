"""What holds of every template: it needs no exception of the content policy, and htmx obeys marked elements alone."""

import re
from pathlib import Path

import pytest

from app.adapters.console.page import is_secret_field

TEMPLATES = Path(__file__).parents[3] / "app" / "adapters" / "console" / "templates"
ALL = sorted(TEMPLATES.rglob("*.html"))
SCRIPT = TEMPLATES.parent / "static" / "console.js"
_TAG = re.compile(r"<[a-z][a-z0-9-]*\b(?:\{\{.*?\}\}|\{%.*?%\}|\"[^\"]*\"|'[^']*'|[^>{])*>", re.DOTALL)


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_template_needs_no_exception(path: Path) -> None:
    markup = path.read_text()
    tags = _TAG.findall(markup)
    assert not [tag for tag in tags if re.search(r"\s(style|on[a-z]+|hx-on\S*)=", tag)]
    assert not [tag for tag in tags if re.match(r"<(iframe|object|embed|base|style)\b", tag)]
    scripts = [tag for tag in tags if tag.startswith("<script")]
    assert all("src=" in tag and "{{ nonce }}" in tag for tag in scripts)
    assert "|safe" not in markup.replace(" ", "")
    assert "javascript:" not in markup
    # What is not marked, htmx strips: the part would be dead.
    asks = [tag for tag in tags if re.search(r"\shx-(get|post|trigger|target|swap|sse)", tag)]
    assert all("hx() }}" in tag for tag in asks), asks


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_form_that_changes_something_carries_the_token_of_its_session(path: Path) -> None:
    markup = path.read_text()
    forms = re.findall(r"<form\b.*?</form>", markup, re.DOTALL)
    posts = [form for form in forms if re.search(r'method="post"', form)]
    assert all("form_token" in form for form in posts), posts


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_title_shows_what_people_named_as_its_heading_does(path: Path) -> None:
    title = re.search(r"\{% block title %\}(.*?)\{% endblock %\}", path.read_text())
    said = [] if title is None else re.findall(r"\{\{(.*?)\}\}", title[1])
    names = [one for one in said if re.search(r"\bwho\b|\.name\b|\bnames\b", one)]
    assert all(
        one.rstrip().endswith("|visible|striptags") or "|visible|striptags if" in one for one in names
    ), said


def test_the_script_stays_small_and_makes_no_markup() -> None:
    script = SCRIPT.read_text()
    assert script.count("\n") <= 300
    for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert sink not in script
    assert not re.search(r"(local|session)Storage", script)


def test_each_field_for_a_secret_is_known_as_one_that_is_never_shown_again() -> None:
    found = [
        name
        for path in ALL
        for call in re.findall(r"ui\.field\((.*?)\) \}\}", path.read_text())
        if 'type="password"' in call
        for name in re.findall(r'^"([^"]+)"', call)
    ]
    assert set(found) == {"secret", "env."}
    assert all(map(is_secret_field, found))
    drawn = [path for path in ALL if re.search(r'<input[^>]*type="password"', path.read_text())]
    assert drawn == []
