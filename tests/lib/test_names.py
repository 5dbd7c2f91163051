"""Names that look the same are equal, and misleading characters are rejected or escaped."""

import pytest

from app.lib.names import checked_name, comparable_name, escape_bidi, escape_line

SAME = [
    "ada",
    "ada ",
    " ada",
    "ada\u00a0",
    "\u3000ada",
    "a\u200bda",
    "ada\u200d",
    "\ufeffada",
    "a\u00adda",
    "\uff41\uff44\uff41",
    "ada\ufe0f",
]
DECEIVING = ["ada\u202e", "\u2066ada", "ad\u200fa", "\u061cada", "ada\n", "ada\u2028", "a\x1bda", "a\x9bda"]


@pytest.mark.parametrize("name", SAME)
def test_names_that_look_the_same_are_compared_as_the_same(name: str) -> None:
    assert checked_name(name) == comparable_name(name) == "ada"


@pytest.mark.parametrize("name", ["Ada Byron", "李雷", "Жанна", "é", "a-b_c.d@example.com", "O'Neill"])
def test_plain_names_stay_as_they_are(name: str) -> None:
    assert checked_name(name) == name
    for between in ("", "\u200d", "\u034f", "\ufe0f"):
        assert comparable_name(f"e{between}\u0301") == "é"


@pytest.mark.parametrize("name", DECEIVING)
def test_a_name_that_reorders_or_breaks_text_is_refused_by_its_code(name: str) -> None:
    with pytest.raises(ValueError, match=r"U\+[0-9A-F]{4}, a control character"):
        checked_name(name)


@pytest.mark.parametrize("name", ["", " ", "\u200b", "\u3164", "\u00ad\ufeff"])
def test_a_name_of_nothing_visible_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="nothing that can be seen"):
        checked_name(name)


def test_what_reorders_text_is_written_out() -> None:
    assert escape_bidi("pay \u202e001\u202c\n") == "pay \\u202e001\\u202c\n"
    assert escape_line("a\r\nb\u2067c\x1b[2J") == "a\\u000d\\u000ab\\u2067c\\u001b[2J"
