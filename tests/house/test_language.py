"""Counts words that the documentation and the code do without, because a standard term says the same.

Whole words count, in any case; ``_`` and a change of case in an identifier separate words. The check reads ``app/``
(Python, templates, scripts and styles), ``docs/``, the README and the contract: code, comments and strings.

List every place, or only those in the files or folders that you name::

    python -m tests.house.test_language [PATH ...]
    python -m tests.house.test_language --quiet  # Only the counts.

A real use, such as a word that a specification defines, gets a comment on its line or on the line above::

    told = parse(header)  # language: allow told
    <!-- language: allow told -->
    {# language: allow told #}
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from string import ascii_letters, ascii_lowercase

import pytest

from tests.house.tracked import ROOT, tracked

# The ratchet, for each thousand words of all areas together. Only ever lower it; the goal is 0.3.
MAX_PER_THOUSAND = 0.1
GOAL = 0.3
# Exemptions are for words that a specification or another program defines.
MAX_EXEMPTIONS = 12

COUNTED = (
    *("somebody", "nobody", "whoever", "whatever", "anew", "beside", "apart", "mend", "fare", "wish", "told"),
    *("of late", "seldom", "meanwhile", "rubbish", "patience", "grounds", "clockwork", "trouble"),
)
AREAS = {
    "app": ("app/*.py",),
    "templates": ("app/*.html", "app/*.js", "app/*.css"),
    "docs": ("docs/*.md", "README.md"),
    "contract": ("openapi/openapi.json",),
}

# Bytes, since their lower case is as long and is made quickly; no counted word has a letter beyond ASCII.
_ANY_WORD = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+")
_ALLOWED = re.compile(r"language: allow ([a-z]+(?:[, ]+[a-z]+)*)")
_LETTERS = frozenset(ascii_letters.encode())
_LOWER = frozenset(ascii_lowercase.encode())


@dataclass(frozen=True)
class Use:
    """One counted word in a file; ``line`` starts at 1."""

    path: str
    line: int
    word: str
    text: str


@dataclass
class Count:
    """What was found in some files."""

    words: int = 0
    uses: list[Use] = field(default_factory=list)
    exemptions: list[Use] = field(default_factory=list)
    unused_exemptions: list[Use] = field(default_factory=list)

    @property
    def per_thousand(self) -> float:
        return 1000 * len(self.uses) / self.words if self.words else 0.0

    def add(self, other: "Count") -> None:
        self.words += other.words
        self.uses += other.uses
        self.exemptions += other.exemptions
        self.unused_exemptions += other.unused_exemptions


def count(path: str, text: str) -> Count:
    """Count the words of one file."""
    data = text.encode()
    lines = text.split("\n")
    unused = {  # By line number, from 0.
        (number, word)
        for number, line in enumerate(lines)
        if "language: allow" in line
        for word in _words_allowed(line)
    }
    allowed = frozenset(unused)
    counted = Count(words=len(_ANY_WORD.findall(data)))
    for start, word in sorted(_places(data)):
        number = data.count(b"\n", 0, start)
        column = len(data[data.rfind(b"\n", 0, start) + 1 : start].decode())
        if any(found.start() <= column < found.end() for found in _ALLOWED.finditer(lines[number])):
            continue  # The exemption itself.
        use = Use(path, number + 1, word, lines[number].strip()[:160])
        exemptions = allowed & {(number, word), (number - 1, word)}
        unused -= exemptions
        (counted.exemptions if exemptions else counted.uses).append(use)
    counted.unused_exemptions += [
        Use(path, number + 1, word, lines[number].strip()) for number, word in sorted(unused)
    ]
    return counted


def _places(data: bytes) -> Iterator[tuple[int, str]]:
    """Where each counted word starts, by itself or as a part of an identifier."""
    lowered = data.lower()
    for word in COUNTED:
        pattern = re.escape(word).replace(r"\ ", r"(?:[\s_#]+|-)").encode()
        if word.split()[0].encode() not in lowered:
            continue
        for match in re.finditer(pattern, lowered):
            if _stands_by_itself(data, *match.span()):
                yield match.start(), word


def _stands_by_itself(data: bytes, start: int, end: int) -> bool:
    before = data[start - 1] if start else 0
    after = data[end] if end < len(data) else 0
    if data[start:end].isupper():
        return before not in _LETTERS and after not in _LETTERS
    hump = before in _LOWER and data[start] not in _LOWER  # As in `wasTold`.
    return (before not in _LETTERS or hump) and after not in _LOWER


def _words_allowed(line: str) -> list[str]:
    """The counted words that an exemption names; prose may follow them."""
    named = " ".join(match.group(1).replace(",", " ") for match in _ALLOWED.finditer(line))
    return [word for word in COUNTED if re.search(rf"\b{word}\b", named)]


@cache
def measure() -> dict[str, Count]:
    """What is in each area."""
    areas = {}
    for area, patterns in AREAS.items():
        areas[area] = Count()
        for path in tracked(*patterns):
            areas[area].add(count(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")))
    return areas


def total(areas: dict[str, Count]) -> Count:
    """All areas together."""
    counted = Count()
    for area in areas.values():
        counted.add(area)
    return counted


def summary(areas: dict[str, Count]) -> str:
    """The rates by area, the uses by word, and the files with most uses."""
    everything = total(areas)
    lines = [
        f"{area:10} {counted.per_thousand:6.2f} per 1,000 words ({len(counted.uses):5} in {counted.words:7,})"
        for area, counted in {**areas, "all": everything}.items()
    ]
    by_word = Counter(use.word for use in everything.uses)
    by_file = Counter(use.path for use in everything.uses)
    lines.append("by word: " + ", ".join(f"{word} {times}" for word, times in by_word.most_common()))
    lines.append(f"exemptions: {len(everything.exemptions)}; limit: {MAX_PER_THOUSAND}, goal: {GOAL}")
    lines.append("files with most uses:")
    lines += [f"  {times:4} {path}" for path, times in by_file.most_common(15)]
    return "\n".join(lines)


def test_the_counted_words_are_rare(capsys: pytest.CaptureFixture[str]) -> None:
    areas = measure()
    assert all(counted.words for counted in areas.values()), "an area has no files"
    with capsys.disabled():
        sys.stdout.write(f"\n{summary(areas)}\n")
    rate = total(areas).per_thousand
    assert rate <= MAX_PER_THOUSAND, (
        f"{rate:.2f} counted words per 1,000, at most {MAX_PER_THOUSAND} are allowed: "
        f"`python -m tests.house.test_language` lists them\n{summary(areas)}"
    )


def test_exemptions_are_few_and_used() -> None:
    areas = measure()
    exemptions = [use for counted in areas.values() for use in counted.exemptions]
    assert len(exemptions) <= MAX_EXEMPTIONS, exemptions
    assert [use for counted in areas.values() for use in counted.unused_exemptions] == []


def test_words_are_found_in_every_spelling() -> None:
    text = "told_by toldBy ByTold TOLD_BY Told untold tolding ATOLD of_late of\n    # late of-late besides Whatever"
    assert [use.word for use in count("a.py", text).uses] == [
        *(["told"] * 5),
        *(["of late"] * 3),
        "whatever",
    ]


def test_an_exemption_holds_for_its_line_and_the_next() -> None:
    text = "told  # language: allow told, by RFC 1\n\n<!-- language: allow of late -->\nof late\nof late told"
    counted = count("a.md", text)
    assert [(use.line, use.word) for use in counted.exemptions] == [(1, "told"), (4, "of late")]
    assert [(use.line, use.word) for use in counted.uses] == [(5, "of late"), (5, "told")]
    unused = count("a.md", "{# language: allow mend #}").unused_exemptions
    assert [(use.line, use.word) for use in unused] == [(1, "mend")]


def main(arguments: list[str]) -> int:
    """List the places; with paths, only those in them. The exit status says whether the limit holds."""
    areas = measure()
    wanted = [argument.rstrip("/") for argument in arguments]
    for use in [] if "--quiet" in arguments else total(areas).uses:
        if not wanted or any(use.path == part or use.path.startswith(f"{part}/") for part in wanted):
            sys.stdout.write(f"{use.path}:{use.line}: {use.word}: {use.text}\n")
    sys.stdout.write(f"{summary(areas)}\n")
    return int(total(areas).per_thousand > MAX_PER_THOUSAND)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
