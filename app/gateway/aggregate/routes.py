"""Requests on ``/mcp`` that are about one server: which one the names in them say, and what they ask there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.objects import Part
from app.gateway.aggregate.names import rename_contents, rename_links, split_name, split_uri
from app.gateway.wire.envelope import Message
from app.gateway.wire.methods import LEGACY, MODERN, part_of
from app.gateway.wire.questions import call_parameters
from app.gateway.wire.refusals import Refused, invalid_params, unknown_resource, unknown_tool

NOWHERE = ""
"""The slug of no server."""

Renaming = Callable[[dict[str, Any], str], None]
"""Names what a result speaks of as it is named here, for the server with this slug."""


@dataclass(slots=True)
class Route:
    """Where a request goes and what it asks there. ``params`` is as the server knows it.

    Made for each request and never changed; a frozen class would take three times as long to make.
    """

    slug: str
    action: str
    params: dict[str, Any]
    tool: str | None = None
    part: Part | None = None
    arguments: dict[str, Any] | None = None
    """What is on record, as a digest."""
    rename: Renaming | None = None


def route_of(message: Message) -> Route | None:
    """The route of a request; ``None`` for a method that is not about one server. Raises ``Refused``."""
    carried = MODERN if message.modern else LEGACY
    router = _ROUTERS.get(message.method)
    return None if router is None or message.method not in carried else router(message)


def nothing_there(message: Message) -> Refused:
    """The answer where there is no such thing, or none in reach."""
    name, modern = str(message.params.get("name")), message.modern
    if message.method == "tools/call":
        return unknown_tool(name, modern)
    if message.method == "prompts/get":
        return invalid_params(f"Unknown prompt: {name}", modern)
    if message.method == "completion/complete":
        return invalid_params("ref is of nothing that is here.", modern)
    return unknown_resource(str(message.params.get("uri")), modern)


def _tool(message: Message) -> Route:
    name, arguments = call_parameters(message)
    slug, own = split_name(name)
    return Route(
        slug,
        "tool.call",
        {**message.params, "name": own},
        tool=own,
        arguments=arguments,
        rename=rename_links,
    )


def _prompt(message: Message) -> Route:
    name = _text(message, message.params, "name")
    slug, own = split_name(name)
    return Route(
        slug,
        "prompt.get",
        {**message.params, "name": own},
        part=Part.PROMPTS,
        arguments={"name": own},
        rename=rename_links,
    )


def _resource(message: Message) -> Route:
    uri = _text(message, message.params, "uri")
    slug, own = split_uri(uri) or (NOWHERE, uri)
    return Route(
        slug,
        LEGACY[message.method].action,
        {**message.params, "uri": own},
        part=Part.RESOURCES,
        arguments={"uri": own},
        rename=rename_contents,
    )


def _completion(message: Message) -> Route:
    part = part_of(LEGACY[message.method], message)
    reference = message.params["ref"]
    if part is Part.PROMPTS:
        slug, own = split_name(_text(message, reference, "name"))
        named = {"name": own}
    else:
        uri = _text(message, reference, "uri")
        slug, own = split_uri(uri) or (NOWHERE, uri)
        named = {"uri": own}
    return Route(
        slug,
        "completion.complete",
        {**message.params, "ref": {**reference, **named}},
        part=part,
        arguments=named,
    )


def _text(message: Message, holder: dict[str, Any], key: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str):
        raise invalid_params(f"{key} must be a string.", message.modern)
    return value


_ROUTERS: Mapping[str, Callable[[Message], Route]] = {
    "tools/call": _tool,
    "prompts/get": _prompt,
    "resources/read": _resource,
    "resources/subscribe": _resource,
    "resources/unsubscribe": _resource,
    "completion/complete": _completion,
}
