"""Normalization of names, and escaping of characters that make text misleading."""

import re
import unicodedata

# Marks, embeddings, overrides and isolates (Unicode Bidirectional Algorithm, section 2).
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# ``_BIDI``, control characters, and separators of lines and paragraphs.
_LINE = re.compile("[\u0000-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Invisible letters and marks: joiners, fillers, variation selectors.
_SHAPELESS = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x1810)})
_SELECTORS = frozenset({*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)})


def comparable_name(text: str) -> str:
    """Normalize a name for storage and comparison: NFKC, without zero-width characters and outer spaces."""
    shaped = "".join(
        char
        for char in unicodedata.normalize("NFKC", text)
        if unicodedata.category(char) != "Cf" and ord(char) not in _SHAPELESS | _SELECTORS
    )
    # Normalized again, since a letter and its accent compose once nothing is between them.
    return unicodedata.normalize("NFKC", shaped).strip()


def checked_name(text: str) -> str:
    """Validate and normalize a new name. Raises ``ValueError``."""
    odd = _LINE.search(text)
    if odd is not None:
        raise ValueError(
            f"it holds U+{ord(odd[0]):04X}, a control character that reorders or breaks text: leave it out"
        )
    name = comparable_name(text)
    if not name:
        raise ValueError("it holds nothing that can be seen: give at least one visible character")
    return name


def escape_bidi(text: str) -> str:
    """Escape bidirectional controls as ``\\u202e``, so that the text is displayed in its real order."""
    return _BIDI.sub(_escaped, text)


def escape_line(text: str) -> str:
    """Escape bidirectional and control characters, so that the text is one line in its real order."""
    return _LINE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
