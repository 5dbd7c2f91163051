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
    for block in _blocks(result):
        resource = block.get("resource") if block.get("type") == "resource" else block
        if block.get("type") in {"resource", "resource_link"} and isinstance(resource, dict):
            uri = resource.get("uri")
            if not isinstance(uri, str) or not uri.lower().startswith(_OF_THE_WEB):
                _rename(resource, slug)


def _blocks(result: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[Any] = []
    messages = result.get("messages")
    holders = [result, *(messages if isinstance(messages, list) else [])]
    for holder in holders:
        content = holder.get("content") if isinstance(holder, dict) else None
        found += content if isinstance(content, list) else [content]
    return [block for block in found if isinstance(block, dict)]


def _rename(resource: Any, slug: str) -> None:
    if isinstance(resource, dict) and isinstance(resource.get("uri"), str):
        resource["uri"] = joined_uri(slug, resource["uri"])
