from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from attrs import define

if TYPE_CHECKING:
    from ..models.connect_snippet import ConnectSnippet


@define(kw_only=True)
class ConnectSettings:
    """How to connect with this token: set `variable` to the secret, then use the snippet for your client."""

    url: str
    """The endpoint of the whole fleet."""

    variable: str
    """The environment variable that the snippets read."""

    claude_code: ConnectSnippet
    """Text to paste, and its destination."""

    cursor: ConnectSnippet
    """Text to paste, and its destination."""

    vscode: ConnectSnippet
    """Text to paste, and its destination."""

    codex: ConnectSnippet
    """Text to paste, and its destination."""

    claude_desktop: ConnectSnippet
    """Text to paste, and its destination."""

    inspector: ConnectSnippet
    """Text to paste, and its destination."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, but that a secret stays a `Secret`."""
        url = self.url

        variable = self.variable

        claude_code = self.claude_code.to_dict()

        cursor = self.cursor.to_dict()

        vscode = self.vscode.to_dict()

        codex = self.codex.to_dict()

        claude_desktop = self.claude_desktop.to_dict()

        inspector = self.inspector.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(
            {
                "url": url,
                "variable": variable,
                "claude_code": claude_code,
                "cursor": cursor,
                "vscode": vscode,
                "codex": codex,
                "claude_desktop": claude_desktop,
                "inspector": inspector,
            }
        )
        return field_dict

    @classmethod
    def from_dict(cls, src_dict: Mapping[str, Any]) -> Self:
        """From what JSON has."""
        from ..models.connect_snippet import ConnectSnippet

        d = dict(src_dict)
        url = d.pop("url")

        variable = d.pop("variable")

        claude_code = ConnectSnippet.from_dict(d.pop("claude_code"))

        cursor = ConnectSnippet.from_dict(d.pop("cursor"))

        vscode = ConnectSnippet.from_dict(d.pop("vscode"))

        codex = ConnectSnippet.from_dict(d.pop("codex"))

        claude_desktop = ConnectSnippet.from_dict(d.pop("claude_desktop"))

        inspector = ConnectSnippet.from_dict(d.pop("inspector"))

        return cls(
            url=url,
            variable=variable,
            claude_code=claude_code,
            cursor=cursor,
            vscode=vscode,
            codex=codex,
            claude_desktop=claude_desktop,
            inspector=inspector,
        )
