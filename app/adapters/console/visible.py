"""Untrusted text for display: characters that a browser hides, reorders or shows as a blank become their codes.

Approvers decide on what they see. Hidden blanks or a bidirectional control character could otherwise make an argument
such as an amount look different from what is approved.
"""

import re
import unicodedata
from collections.abc import Iterator

from markupsafe import Markup, escape

# Control and format characters, surrogates, private use and unassigned ones, line and paragraph separators, and all
# blanks other than the plain space.
_ODD_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
# Letters and marks without a glyph: fillers, joiners, variation selectors.
_INVISIBLE = frozenset(
    {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x1810)}
    | set(range(0xFE00, 0xFE10))
    | set(range(0xE0100, 0xE01F0))
)
# No script stacks more marks on a letter; more would cover other lines.
_MAX_MARKS = 4


# Letters and digits of any script with a glyph, which need no further check.
_PLAIN = re.compile("(?:[ -~\n]|(?![\u115f\u1160\u3164\uffa0])\\w)+")


def visible(text: str) -> Markup:
    """Escape a text and replace each odd character by its code; line ends stay."""
    parts: list[str] = []
    at = 0
    while at < len(text):
        plain = _PLAIN.match(text, at)
        if plain is not None:
            parts.append(str(escape(plain[0])))
            at = plain.end()
            continue
        after = _PLAIN.search(text, at)
        end = len(text) if after is None else after.start()
        parts.extend(_each(text[at:end]))
        at = end
    return Markup("".join(parts))  # noqa: S704 - each part is escaped, or consists of digits


def _each(text: str) -> Iterator[str]:
    """Escape characters that are not plain, one by one."""
    marks = 0
    for char in text:
        category = unicodedata.category(char)
        marks = marks + 1 if category.startswith("M") else 0
        odd = category in _ODD_CATEGORIES or ord(char) in _INVISIBLE or marks > _MAX_MARKS
        yield f'<span class="odd">U+{ord(char):04X}</span>' if odd else str(escape(char))
