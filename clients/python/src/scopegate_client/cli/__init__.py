"""`sgctl`, the command line. Its additional requirements are the extra ``cli``."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        from scopegate_client.cli.run import run  # noqa: PLC0415 - the library alone comes without its imports
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"typer", "rich", "platformdirs", "tomlkit"}:
            raise
        # Not by its name: the package is on no index.
        sys.stderr.write(
            f"sgctl: {missing.name} is not installed. Install the client's wheel with its extra: "
            "pip install 'scopegate_client-<version>-py3-none-any.whl[cli]'\n"
        )
        return 1
    return run(sys.argv[1:] if arguments is None else arguments)
