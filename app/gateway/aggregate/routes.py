"""Routing of requests on ``/mcp`` to one server, by the slug in a name or URI.

A tool or prompt is ``<slug>__<name>``. A resource is ``mcp+<slug>+<uri>``, which is a URI if the server's own is one;
a template expands to such a URI. A name contains its server, so no server can claim another's name.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.objects import Part
from app.gateway.wire.messages import LEGACY, MODERN, Message, call_parameters, used_part
from app.gateway.wire.refusals import Refused, invalid_params, unknown_resource, unknown_tool

SEPARATOR = "__"
_RESOURCE = re.compile(r"mcp\+([a-z0-9][a-z0-9-]*)\+(.+)", re.DOTALL)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S*")
_WEB_SCHEMES = ("https://", "http://")


def join_name(slug: str, name: str) -> str:
    """Return the name of a server's tool or prompt on ``/mcp``."""
    return f"{slug}{SEPARATOR}{name}"


def split_name(name: str) -> tuple[str, str]:
    """Return the slug and the server's own name. A slug has no underscore, so the first separator counts."""
    slug, _, own = name.partition(SEPARATOR)
    return slug, own


def join_uri(slug: str, uri: str) -> str:
    """Return the URI of a server's resource or template on ``/mcp``."""
    return f"mcp+{slug}+{uri}"


def split_uri(uri: str) -> tuple[str, str] | None:
    """Return the slug and the server's own URI; ``None`` for a URI of another form."""
    match = _RESOURCE.fullmatch(uri)
    return None if match is None else (match[1], match[2])


def is_uri(text: str) -> bool:
    """Whether a text begins with a URI scheme and contains no blanks."""
    return _URI.fullmatch(text) is not None


def rename_contents(result: dict[str, Any], slug: str) -> None:
    """Rename the resources in a ``resources/read`` result as on ``/mcp``."""
    contents = result.get("contents")
    for content in contents if isinstance(contents, list) else ():
        _rename(content, slug)


def rename_links(result: dict[str, Any], slug: str) -> None:
    """Rename the resources in a tool or prompt result, so that they can be read on ``/mcp``.

    Web URLs are unchanged, because clients fetch them directly.
    """
    _rename_in(result.get("content"), slug)
    messages = result.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            _rename_in(message.get("content"), slug)


def _rename_in(content: Any, slug: str) -> None:
    for block in content if isinstance(content, list) else (content,):
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "resource_link":
            _rename(block, slug, _WEB_SCHEMES)
        elif kind == "resource":
            _rename(block.get("resource"), slug, _WEB_SCHEMES)


def _rename(resource: Any, slug: str, kept_schemes: tuple[str, ...] = ()) -> None:
    uri = resource.get("uri") if isinstance(resource, dict) else None
    if isinstance(uri, str) and not uri.lower().startswith(kept_schemes):
        resource["uri"] = join_uri(slug, uri)


NOWHERE = ""
"""The slug of no server."""
Renaming = Callable[[dict[str, Any], str], None]
"""Renames the resources in a result as on ``/mcp``, for the server with this slug."""


@dataclass(slots=True)
class Route:
    """The server of a request, and the access it needs. ``params`` has the server's own names.

    Never changed, but not frozen, because a frozen dataclass takes three times as long to create.
    """

    slug: str
    action: str
    params: dict[str, Any]
    tool: str | None = None
    part: Part | None = None
    arguments: dict[str, Any] | None = None
    """The arguments for policies; the audit log records their digest."""
    rename: Renaming | None = None


def find_route(message: Message) -> Route | None:
    """Return the route of a request; ``None`` for a method without a single server. Raises ``Refused``."""
    methods = MODERN if message.modern else LEGACY
    router = _ROUTERS.get(message.method)
    return None if router is None or message.method not in methods else router(message)


def not_found(message: Message) -> Refused:
    """Return the one answer for an unknown item and for one out of reach."""
    name, modern = str(message.params.get("name")), message.modern
    if message.method == "tools/call":
        return unknown_tool(name, modern)
    if message.method == "prompts/get":
        return invalid_params(f"Unknown prompt: {name}", modern)
    if message.method == "completion/complete":
        return invalid_params("ref does not exist.", modern)
    return unknown_resource(str(message.params.get("uri")), modern)


def _tool(message: Message) -> Route:
    name, arguments = call_parameters(message)
    slug, own = split_name(name)
    return Route(
        slug, "tool.call", {**message.params, "name": own}, tool=own, arguments=arguments, rename=rename_links
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
    part = used_part(LEGACY[message.method], message)
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
