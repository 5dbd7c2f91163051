"""Asking Cedar's engine which of some statements a request satisfies, and on which it fails."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import cedarpy

_FAILED = re.compile(r"error while evaluating policy `(\d+)`: (.*)", re.DOTALL)
# The engine's other messages may hold values of the call.
_WITHOUT_VALUES = re.compile(
    r"record does not have the attribute `[^`]*`|type error: expected [^`]*, got [^`]*"
    r"|`[^`]*` does not have the (?:attribute|tag) `[^`]*`"
    r"|(?P<cut>integer overflow) while .*|(?P<function>error while evaluating `\w+` extension function): .*",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Findings:
    """The numbers of the policies that are satisfied, of those that failed, with why, and of those that stood aside.

    A policy stands aside that reads arguments which are not known.
    """

    satisfied: tuple[int, ...] = ()
    failed: Mapping[int, str] = field(default_factory=dict)
    aside: tuple[int, ...] = ()

    def __add__(self, other: "Findings") -> "Findings":
        return Findings(
            self.satisfied + other.satisfied, {**self.failed, **other.failed}, self.aside + other.aside
        )


def run(
    statements: cedarpy.PolicySet,
    numbers: Collection[int],
    request: dict[str, Any],
    entities: cedarpy.Entities,
) -> Findings:
    """What the engine finds. A request that it cannot take at all fails every statement."""
    result = cedarpy.is_authorized(request, statements, entities)
    if result.decision is cedarpy.Decision.NoDecision:
        return Findings(failed=dict.fromkeys(numbers, "the request cannot be represented"))
    failed = {}
    for error in result.diagnostics.errors:
        found = _FAILED.fullmatch(error)
        if found is None:
            return Findings(failed=dict.fromkeys(numbers, "the engine failed"))
        failed[int(found[1])] = _told(found[2])
    return Findings(tuple(sorted(map(int, result.diagnostics.reasons))), failed)


def _told(message: str) -> str:
    """The message of the engine as far as it holds no value of the call."""
    found = _WITHOUT_VALUES.fullmatch(message)
    if found is None:
        return "it cannot be evaluated"
    return found["cut"] or found["function"] or message
