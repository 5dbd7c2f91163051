"""The tracked files of the repository, for checks that read all of them."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def git(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run Git on the repository."""
    # The owner of a checkout in a container may be another user than the one who runs the tests.
    command = ["git", "-c", f"safe.directory={ROOT}", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=check)


def tracked(*patterns: str) -> list[Path]:
    """The files that Git tracks, or would with the next commit; ``*`` includes folders."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns)
    paths = {ROOT / name for name in listed.stdout.decode().split("\0") if name}
    return sorted(path for path in paths if path.is_file())
