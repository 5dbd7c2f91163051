"""Names on ``/mcp``: each says by itself which server it is of, and what it is called there.

A tool or prompt is ``<slug>__<name>``. A resource is ``mcp+<slug>+<uri>``: still a URI where the server's own is one,
and a template still expands into such a one. Nobody is asked whose a name is, so no server can take another's.
"""

import re
from typing import Any

SEAM = "__"

_PLACED = re.compile(r"mcp\+([a-z0-9][a-z0-9-]*)\+(.+)", re.DOTALL)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S*")
_OF_THE_WEB = ("https://", "http://")


def joined_name(slug: str, name: str) -> str:
    """What a server's tool or prompt is called here."""
    return f"{slug}{SEAM}{name}"


def split_name(name: str) -> tuple[str, str]:
    """Slug and the server's own name; a slug has no underscore, so the first seam is the one."""
    slug, _, own = name.partition(SEAM)
    return slug, own


def joined_uri(slug: str, uri: str) -> str:
    """What a server's resource, or template, is called here."""
    return f"mcp+{slug}+{uri}"


def split_uri(uri: str) -> tuple[str, str] | None:
    """Slug and the server's own URI; ``None`` for a URI that is of no server."""
    found = _PLACED.fullmatch(uri)
    return None if found is None else (found[1], found[2])


def is_uri(text: str) -> bool:
    """Whether it begins as a URI does and holds no blanks."""
    return _URI.fullmatch(text) is not None


def rename_contents(result: dict[str, Any], slug: str) -> None:
    """Name what a ``resources/read`` brought as it was asked for."""
    contents = result.get("contents")
    for content in contents if isinstance(contents, list) else ():
        _rename(content, slug)


def rename_links(result: dict[str, Any], slug: str) -> None:
    """Name the resources that the result of a tool or prompt speaks of, so that they can be read here.

    Addresses of the web stay: clients fetch them themselves.
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
            _rename_link(block, slug)
        elif kind == "resource":
            _rename_link(block.get("resource"), slug)


def _rename_link(resource: Any, slug: str) -> None:
    uri = resource.get("uri") if isinstance(resource, dict) else None
    if isinstance(uri, str) and not uri.lower().startswith(_OF_THE_WEB):
        resource["uri"] = joined_uri(slug, uri)


def _rename(resource: Any, slug: str) -> None:
    if isinstance(resource, dict) and isinstance(resource.get("uri"), str):
        resource["uri"] = joined_uri(slug, resource["uri"])
