"""Protected resource metadata (RFC 9728): where a client learns how to authenticate here."""

from urllib.parse import quote

from app.kit import strict_json

PREFIX = "/.well-known/oauth-protected-resource"


def metadata_document(public_url: str, path: str) -> bytes | None:
    """The document for a path below ``PREFIX``; alike for every slug, whether a server has it or not."""
    resource = path.removeprefix(PREFIX) or "/mcp"
    slug = resource.removeprefix("/mcp/")
    if resource != "/mcp" and (slug == resource or not slug or "/" in slug):
        return None
    return strict_json.dumps(
        {
            "resource": public_url + quote(resource, errors="replace"),
            "authorization_servers": [public_url],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["mcp"],
        }
    )
