"""Figures, their targets, and whether they meet them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MET, MISSED, NOT_JUDGED = "met", "missed", "not judged"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound, and whether a value must be at least or at most this."""

    bound: float
    at_least: bool

    def judge(self, value: float) -> str:
        """Compare a value with the target. NaN misses it."""
        if math.isnan(value):
            return MISSED
        return MET if (value >= self.bound if self.at_least else value <= self.bound) else MISSED


def at_least(bound: float) -> Target:
    """Make a target for a value that should be large."""
    return Target(bound, at_least=True)


def at_most(bound: float) -> Target:
    """Make a target for a value that should be small."""
    return Target(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number and its target."""

    what: str
    value: float
    unit: str
    target: Target | None = None
    detail: str = ""
    exempt_reason: str | None = None
    """Why the target does not apply here."""

    @property
    def verdict(self) -> str:
        """The verdict to print; empty without a target."""
        if self.target is None:
            return ""
        return NOT_JUDGED if self.exempt_reason is not None else self.target.judge(self.value)

    def jsonable(self) -> dict[str, Any]:
        """Return the figure for the results file, without NaN, which JSON does not have."""
        return {
            "what": self.what,
            "value": None if math.isnan(self.value) else round(self.value, 4),
            "unit": self.unit,
            "target": None if self.target is None else _shown(self.target),
            "verdict": self.verdict or None,
            "detail": "; ".join(part for part in (self.detail, self.exempt_reason) if part),
        }


def _shown(target: Target) -> str:
    return f"{'≥' if target.at_least else '≤'} {target.bound:,g}"


def figures_table(figures: Sequence[Figure]) -> str:
    """Return the figures as text, one line each."""
    out = [f"\n{'':<58}{'measured':>10}{'':<8}{'target':>10}"]
    for figure in figures:
        target = "" if figure.target is None else _shown(figure.target)
        detail = "; ".join(part for part in (figure.detail, figure.exempt_reason) if part)
        line = f"{figure.what:<58}{figure.value:>10,.2f} {figure.unit:<7}{target:>10}  {figure.verdict:<11}{detail}"
        out.append(line.rstrip())
    return "\n".join(out)
