"""Tool definitions from a server or an administrator: strictly parsed and digested once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from app.domain.definitions import definition_digest
from app.lib import strict_json
from app.lib.event_loop import is_on_loop
from app.lib.strict_json import JsonObject

MAX_NAME_LENGTH = 256
MAX_DEFINITION_BYTES = 256 * 1024
MAX_SCHEMA_DEPTH = 64
# A shorter secret could occur in ordinary text by chance.
MIN_SECRET_BYTES = 8
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


def read_definition(item: Mapping[str, Any], secrets: Sequence[bytes] = ()) -> Definition:
    """Parse one ``tools/list`` item. Raises ``InvalidTool``.

    ``secrets`` must not occur in a definition: a server that gets a credential could copy it into a description, and so
    into our database and every client.
    """
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidTool("it has no name", "name")
    if len(name) > MAX_NAME_LENGTH:
        raise InvalidTool(f"its name is longer than {MAX_NAME_LENGTH} characters", "name")
    input_schema = _object(item, "inputSchema")
    if input_schema is None:
        raise InvalidTool("it has no input schema", "inputSchema")
    title, description = _text(item, "title"), _text(item, "description")
    output_schema, annotations = _object(item, "outputSchema"), _object(item, "annotations")
    _check_text(item, secrets)
    return Definition(
        name, title, description, input_schema, output_schema, annotations, definition_digest(item)
    )


def _text(item: Mapping[str, Any], member: str) -> str | None:
    value = item.get(member)
    if value is not None and not isinstance(value, str):
        raise InvalidTool(f"its {member} is not text", member)
    return value


def _object(item: Mapping[str, Any], member: str) -> dict[str, Any] | None:
    value = item.get(member)
    if value is not None and not isinstance(value, dict):
        raise InvalidTool(f"its {member} is not an object", member)
    return value


def _check_text(item: Mapping[str, Any], secrets: Sequence[bytes]) -> None:
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
    for secret in secrets:
        if len(secret) >= MIN_SECRET_BYTES and strict_json.dumps(secret.decode("latin-1"))[1:-1] in text:
            raise InvalidTool("it contains the upstream credential")
