"""`sgctl`, the command line. What it needs beside the library comes with ``pip install 'scopegate-client[cli]'``."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the value is the exit code."""
    try:
        from scopegate_client.cli.run import run  # noqa: PLC0415 - the library alone comes without its imports
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"typer", "rich", "platformdirs", "tomlkit"}:
            raise
        sys.stderr.write(f"sgctl: {missing.name} is not installed: pip install 'scopegate-client[cli]'\n")
        return 1
    return run(sys.argv[1:] if arguments is None else arguments)
