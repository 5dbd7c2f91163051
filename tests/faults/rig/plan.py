"""The plan of a run of the fault rig, and its results."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run: a fleet of its own, load on it, and these faults."""

    times: Mapping[str, int]
    """How often each kind of fault strikes; the kinds are those of ``faults.KINDS``."""
    seed: int = 1
    gateways: int = 3
    callers: int = 3
    """Callers that call without a pause, at each gateway."""
    mutant: str | None = None
    """The name of the break that every gateway is built with (``RIG_MUTANT``)."""
    place: Path | None = None
    """Where history and logs are written. Without it a new directory, which is removed when nothing was violated."""


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must never be."""

    invariant: str
    """``I1`` to ``I11``, ``isolation`` or ``flat``."""
    what: str
    judged: bool = True
    """Whether it can be held against the service: not where a time was too long while the driver was late itself."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a checker made of a run."""

    violations: tuple[Violation, ...]
    table: str
    """For people to read: faults, calls, refusals, revocations, violations, times."""
    place: Path
    """Where the history is, when something was violated."""
    unjudged: tuple[Violation, ...] = ()
    """What could not be judged, because the driver was late itself."""
    missed: tuple[str, ...] = ()
    """Failpoints that were struck at and never reached."""

    @property
    def violated(self) -> frozenset[str]:
        """The invariants that did not hold."""
        return frozenset(violation.invariant for violation in self.violations)

    def counts(self) -> Counter[str]:
        """Violations by invariant."""
        return Counter(violation.invariant for violation in self.violations)
