"""Reconcile a server's stored tools with what it offers now. No I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.domain.objects import ToolState
from app.domain.risk import assess
from app.features.tools.definitions import Definition
from app.lib.ids import new_id
from app.models.servers import Tool


@dataclass(slots=True)
class Reconciliation:
    """The outcome: rows to insert, rows that were changed in place, and counts of the changes."""

    added: list[Tool] = field(default_factory=list)
    changed: list[Tool] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    narrows: bool = False

    @property
    def touched(self) -> list[Tool]:
        return [*self.added, *self.changed]


def reconcile(
    server_id: UUID,
    rows: Mapping[str, Tool],
    offered: Iterable[Definition],
    *,
    trust_new: bool,
    at: datetime,
) -> Reconciliation:
    """Update the rows of one server, by exact name, to what it offers.

    ``trust_new`` makes new tools active immediately (the first sync, or by the server's setting).
    """
    outcome = Reconciliation()
    seen: set[str] = set()
    for definition in offered:
        seen.add(definition.name)
        row = rows.get(definition.name)
        if row is None:
            outcome.added.append(new_tool(server_id, definition, approved=trust_new))
            outcome.counts["added" if trust_new else "quarantined"] += 1
        else:
            _compare(row, definition, outcome)
    for name, row in rows.items():
        if name not in seen and row.state != ToolState.REMOVED:
            outcome.narrows |= row.state == ToolState.ACTIVE
            outcome.counts["removed"] += 1
            outcome.changed.append(row)
            remove(row, at)
    return outcome


def new_tool(server_id: UUID, definition: Definition, *, approved: bool) -> Tool:
    """Create a row for a new tool, active when ``approved``, quarantined otherwise."""
    risk = assess(definition.name, definition.annotations)
    row = Tool(
        id=new_id(),
        server_id=server_id,
        name=definition.name,
        input_schema=definition.input_schema,
        risk=risk.value,
        assessed_risk=risk.value,
        state=(ToolState.ACTIVE if approved else ToolState.QUARANTINED).value,
        definition_digest=definition.digest,
        approved_digest=definition.digest if approved else None,
    )
    adopt(row, definition)
    return row


def adopt(row: Tool, definition: Definition) -> None:
    """Store the latest definition. The approved digest and its risk stay."""
    row.title = definition.title
    row.description = definition.description
    row.input_schema = definition.input_schema
    row.output_schema = definition.output_schema
    row.annotations = definition.annotations
    row.definition_digest = definition.digest


def approve(row: Tool) -> None:
    """Approve the latest definition: its annotations now determine the risk, and the tool is active."""
    row.approved_digest = row.definition_digest
    row.state = ToolState.ACTIVE.value
    row.held = False
    row.removed_at = None
    reassess(row)


def reassess(row: Tool) -> None:
    """Derive the risk from the row's definition; an override stays."""
    row.assessed_risk = assess(row.name, row.annotations).value
    if not row.risk_overridden:
        row.risk = row.assessed_risk


def remove(row: Tool, at: datetime) -> None:
    """Mark a tool as removed, which the server no longer offers. Its approval stays."""
    row.state = ToolState.REMOVED.value
    row.removed_at = at


def _compare(row: Tool, definition: Definition, outcome: Reconciliation) -> None:
    before = row.state
    differs = row.definition_digest != definition.digest
    if differs:
        adopt(row, definition)
        if row.approved_digest is None:
            # Nothing was ever approved, so there is no approved risk to keep.
            reassess(row)
    fits = row.approved_digest == definition.digest and not row.held
    row.state = (ToolState.ACTIVE if fits else ToolState.QUARANTINED).value
    row.removed_at = None
    if not differs and row.state == before:
        outcome.counts["unchanged"] += 1
        return
    outcome.changed.append(row)
    outcome.narrows |= before == ToolState.ACTIVE and not fits
    outcome.counts["returned" if before == ToolState.REMOVED else "restored" if fits else "changed"] += 1
