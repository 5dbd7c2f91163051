"""Files that hold secrets: for their owner alone, and never half written."""

import os
import stat
import tempfile
from pathlib import Path

from scopegate_client.cli.failing import Failed


def make_private_directory(path: Path) -> None:
    """Make a directory that its owner alone may enter, and so the one above it, unless that is there: it may be
    another's."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o700)


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Put the content in place whole, or leave what was there."""
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).chmod(mode)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def read_private(path: Path) -> bytes:
    """Read a file of ours; refuse one that others may read, for its secret may be known to them."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise Failed(
                f"{path} can be read by others (mode {mode:04o}). If nobody else is on this machine, "
                f"chmod 600 {path}; else sign in with a new secret."
            )
        return file.read()


def reserve_private_file(path: Path) -> int:
    """Make a file that nobody had before us, for the secret that is yet to come; the value is its descriptor."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failed(f"{path} is there already, and a secret is written to a new file only.") from None
