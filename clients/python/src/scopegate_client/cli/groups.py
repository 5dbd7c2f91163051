"""Groups of commands, and suggestions for mistyped names."""

from difflib import get_close_matches
from typing import Any

import typer
from typer.core import TyperGroup

# Only these are suggested, so that a suggestion never changes anything: `identity create` is
# close to `identity reinstate`.
_READING = frozenset({"list", "show", "search", "tail", "whoami", "claude-code", "cursor", "vscode", "codex"})
_CHANGING_OPTIONS = frozenset({"--yes", "--reveal", "--replace", "--write"})


class _Group(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except typer.TyperException as mistake:
            near = [] if args[0].startswith("-") else get_close_matches(args[0], self._suggestible())
            if near:
                mistake.message += f" Did you mean {' or '.join(near)}?"
            raise

    def _suggestible(self) -> list[str]:
        return [
            name for name, each in self.commands.items() if name in _READING or isinstance(each, TyperGroup)
        ]


def group(about: str, **settings: Any) -> typer.Typer:
    """Build a group of commands."""
    return typer.Typer(cls=_Group, help=about, no_args_is_help=True, suggest_commands=False, **settings)


def without_changing_options(mistake: typer.TyperException) -> typer.TyperException:
    """The mistake without suggestions of options that change more."""
    if possibilities := getattr(mistake, "possibilities", None):
        mistake.possibilities = [  # type: ignore[attr-defined]
            option for option in possibilities if option not in _CHANGING_OPTIONS
        ]
    return mistake
