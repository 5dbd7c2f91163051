"""Tool definitions as a server lists them or an administrator gives them: read strictly, digested once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from app.domain.definitions import definition_digest
from app.lib import strict_json
from app.lib.event_loop import is_on_loop
from app.lib.strict_json import JsonObject

LONGEST_NAME = 256
LARGEST_DEFINITION = 256 * 1024
DEEPEST_SCHEMA = 64
# A shorter secret is found in ordinary text by accident.
SHORTEST_SECRET = 8
_NOT_PLAIN = "it holds something that is not plain JSON (NUL, lone surrogates, too deep)"


class OddTool(ValueError):
    """A definition that cannot be taken. ``reason`` is plain words and quotes nothing of it."""

    def __init__(self, reason: str, member: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.member = member


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool as offered. ``digest`` is over the members as they came, before any database touched them."""

    name: str
    title: str | None
    description: str | None
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    annotations: dict[str, Any] | None
    digest: bytes


def read_definition(item: Mapping[str, Any], secrets: Sequence[bytes] = ()) -> Definition:
    """Read one ``tools/list`` item. Raises ``OddTool``.

    ``secrets`` are values that a definition must not hold: a server that is given a credential could write it
    into a description, and so into our database and every client.
    """
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise OddTool("it has no name", "name")
    if len(name) > LONGEST_NAME:
        raise OddTool(f"its name is longer than {LONGEST_NAME} characters", "name")
    input_schema = _object(item, "inputSchema")
    if input_schema is None:
        raise OddTool("it has no input schema", "inputSchema")
    title, description = _text(item, "title"), _text(item, "description")
    output_schema, annotations = _object(item, "outputSchema"), _object(item, "annotations")
    _check_text(item, secrets)
    return Definition(
        name, title, description, input_schema, output_schema, annotations, definition_digest(item)
    )


def _text(item: Mapping[str, Any], member: str) -> str | None:
    value = item.get(member)
    if value is not None and not isinstance(value, str):
        raise OddTool(f"its {member} is not text", member)
    return value


def _object(item: Mapping[str, Any], member: str) -> dict[str, Any] | None:
    value = item.get(member)
    if value is not None and not isinstance(value, dict):
        raise OddTool(f"its {member} is not an object", member)
    return value


def _check_text(item: Mapping[str, Any], secrets: Sequence[bytes]) -> None:
    """The definition as text must be JSON with one meaning, of sane size, and hold no secret of ours."""
    write = strict_json.dumps if is_on_loop() else strict_json.dumps_in_pieces
    try:
        text = write(cast("JsonObject", dict(item)))
    except ValueError:
        raise OddTool(_NOT_PLAIN) from None
    if len(text) > LARGEST_DEFINITION:
        raise OddTool(f"it is larger than {LARGEST_DEFINITION // 1024} KiB")
    try:
        strict_json.loads(text, max_depth=DEEPEST_SCHEMA)
    except ValueError:
        raise OddTool(_NOT_PLAIN) from None
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET and strict_json.dumps(secret.decode("latin-1"))[1:-1] in text:
            raise OddTool("it holds the upstream credential")
