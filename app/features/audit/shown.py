"""Values of stored rows as the API can show them, whoever wrote them.

Whoever may insert into the trail can write what the service never does. One such row must not keep all that follow from
whoever reads the trail: it is shown as far as the contract has words for it. Its leaf says all of it.
"""

from typing import Any, get_args

from app.features.audit.schemas import AuditDecision, AuditOutcome

_DECISIONS, _OUTCOMES = (
    frozenset(get_args(get_args(kind.__value__)[0])) for kind in (AuditDecision, AuditOutcome)
)
_DEEPEST = 64


def decision_of(stored: str | None) -> str | None:
    """A decision; None for what is none."""
    return stored if stored in _DECISIONS else None


def outcome_of(stored: str | None) -> str | None:
    """An outcome; ``unknown`` for what is none."""
    return stored if stored is None or stored in _OUTCOMES else "unknown"


def changes_of(stored: Any) -> dict[str, Any] | None:
    """Changes, which are an object that is not deeply nested; what else there is, is left out."""
    if stored is None:
        return None
    return stored if isinstance(stored, dict) and _is_shallow(stored) else {}


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False
