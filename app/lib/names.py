"""Names that people compare by eye, compared by machine; and characters that would deceive the eye, written out."""

import re
import unicodedata

# Marks, embeddings, overrides and isolates (Unicode Bidirectional Algorithm, section 2).
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# As ``_BIDI``, and what ends or rewrites a line: control characters, separators of lines and paragraphs.
_LINE = re.compile("[\u0000-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# Letters and marks without a shape: joiners, fillers, selectors of variants.
_SHAPELESS = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0, *range(0x180B, 0x1810)})
_SELECTORS = frozenset({*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)})


def comparable_name(text: str) -> str:
    """The form in which names are stored and compared: NFKC, without zero-width characters and outer blanks."""
    shaped = "".join(
        char
        for char in unicodedata.normalize("NFKC", text)
        if unicodedata.category(char) != "Cf" and ord(char) not in _SHAPELESS | _SELECTORS
    )
    # Again: a letter and its accent compose once nothing is left between them.
    return unicodedata.normalize("NFKC", shaped).strip()


def checked_name(text: str) -> str:
    """The comparable form of a name that someone sets. Raises ``ValueError``."""
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
    """The text with bidirectional controls written as ``\\u202e``, so that it is read in the order it has."""
    return _BIDI.sub(_escaped, text)


def escape_line(text: str) -> str:
    """The text as one line in its own order: bidirectional and control characters are written out."""
    return _LINE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
