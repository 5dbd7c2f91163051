"""Values of stored rows as the API can show them, whoever wrote them.

Whoever may insert into the trail can write what the service never does. One such row must not keep all that follow from
whoever reads the trail: it is shown as far as the contract has words for it. Its leaf says all of it.
"""

from collections.abc import Iterable
from typing import get_args
from uuid import UUID

from app.features.audit.schemas import AuditDecision, AuditOutcome

_DECISIONS, _OUTCOMES = (
    frozenset(get_args(get_args(kind.__value__)[0])) for kind in (AuditDecision, AuditOutcome)
)


def decision_of(stored: str | None) -> str | None:
    """A decision; None for what is none."""
    return stored if stored in _DECISIONS else None


def outcome_of(stored: str | None) -> str | None:
    """An outcome; ``unknown`` for what is none."""
    return stored if stored is None or stored in _OUTCOMES else "unknown"


def policies_of(stored: Iterable[object] | None) -> list[UUID] | None:
    """Ids of policies, without what is none: an array may hold others, and NULL."""
    return None if stored is None else [id for id in stored if isinstance(id, UUID)]
