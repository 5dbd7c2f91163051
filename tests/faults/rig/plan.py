"""The plan of a run of the fault rig, and its results."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunPlan:
    """One run: a fleet of its own, load on it, and these faults."""

    times: Mapping[str, int]
    """How often each kind of fault strikes, by the kinds in ``faults.KINDS``."""
    seed: int = 1
    gateways: int = 3
    callers: int = 3
    """Callers that call without a pause, at each gateway."""
    mutant: str | None = None
    """The mutant of every gateway (``RIG_MUTANT``)."""
    place: Path | None = None
    """The folder for history and logs. By default a new one, which is removed if nothing was violated."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A violated invariant."""

    invariant: str
    """``I1`` to ``I11``, ``isolation`` or ``flat``."""
    what: str
    judged: bool = True
    """Whether the service is responsible; not if the driver itself was delayed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the checker."""

    violations: tuple[Violation, ...]
    table: str
    """A text report: faults, calls, refusals, revocations, violations, times."""
    place: Path
    """The folder of the history, if something was violated."""
    unjudged: tuple[Violation, ...] = ()
    """Violations that cannot be judged, because the driver was delayed."""
    missed: tuple[str, ...] = ()
    """Failpoints that were never reached."""

    @property
    def violated(self) -> frozenset[str]:
        """The violated invariants."""
        return frozenset(violation.invariant for violation in self.violations)

    def counts(self) -> Counter[str]:
        """Violations by invariant."""
        return Counter(violation.invariant for violation in self.violations)
