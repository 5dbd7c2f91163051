"""Tool definitions: parse and digest them, and reconcile the stored tools with what a server offers. No I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

from app.domain.definitions import definition_digest
from app.domain.objects import ToolState
from app.domain.risk import assess
from app.lib import strict_json
from app.lib.event_loop import is_on_loop
from app.lib.ids import new_id
from app.lib.secret_matcher import NO_SECRETS, SecretMatcher
from app.lib.strict_json import JsonObject
from app.models.servers import Tool

MAX_NAME_LENGTH = 256
MAX_DEFINITION_BYTES = 256 * 1024
MAX_SCHEMA_DEPTH = 64
_KINDS = {"inputSchema": dict, "title": str, "description": str, "outputSchema": dict, "annotations": dict}
_NOT_PLAIN = "it contains something that is not plain JSON (NUL, lone surrogates, too deep)"


class InvalidTool(ValueError):
    """A definition that is not accepted. ``reason`` is plain text and quotes nothing of it."""

    def __init__(self, reason: str, member: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.member = member


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool as offered. ``digest`` covers the members as received, before any database touched them."""

    name: str
    title: str | None
    description: str | None
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    annotations: dict[str, Any] | None
    digest: bytes


def read_definition(item: Mapping[str, Any], secrets: SecretMatcher = NO_SECRETS) -> Definition:
    """Parse one ``tools/list`` item. Raises ``InvalidTool``.

    ``secrets`` must not occur in a definition: a server that gets a credential could copy it into a description, and so
    into our database and every client.
    """
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidTool("it has no name", "name")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidTool(f"its name is longer than {MAX_NAME_LENGTH} characters", "name")
    if item.get("inputSchema") is None:
        raise InvalidTool("it has no input schema", "inputSchema")
    for member, kind in _KINDS.items():
        if not isinstance(item.get(member), kind | None):
            what = "text" if kind is str else "an object"
            raise InvalidTool(f"its {member} is not {what}", member)
    _check_text(item, secrets)
    return Definition(
        name,
        item.get("title"),
        item.get("description"),
        item["inputSchema"],
        item.get("outputSchema"),
        item.get("annotations"),
        definition_digest(item),
    )


def _check_text(item: Mapping[str, Any], secrets: SecretMatcher) -> None:
    """Require unambiguous JSON of limited size without one of the secrets."""
    write = strict_json.dumps if is_on_loop() else strict_json.dumps_in_pieces
    try:
        text = write(cast("JsonObject", dict(item)))
    except ValueError:
        raise InvalidTool(_NOT_PLAIN) from None
    if len(text) > MAX_DEFINITION_BYTES:
        raise InvalidTool(f"it is larger than {MAX_DEFINITION_BYTES // 1024} KiB")
    try:
        strict_json.loads(text, max_depth=MAX_SCHEMA_DEPTH)
    except ValueError:
        raise InvalidTool(_NOT_PLAIN) from None
    if secrets.is_in(text):
        raise InvalidTool("it contains the upstream credential")


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
    server_id: UUID, rows: Mapping[str, Tool], offered: Iterable[Definition], *, trust_new: bool, at: datetime
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
    for row in outcome.changed:
        row.revision += 1
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
