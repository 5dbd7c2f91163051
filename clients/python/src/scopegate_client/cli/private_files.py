"""Files with secrets: private to their owner, and written atomically."""

import os
import stat
import tempfile
from pathlib import Path

from scopegate_client.cli.failing import Failed


def make_private_directory(path: Path) -> None:
    """Create a directory that only its owner can enter, and its parent. An existing directory is not changed, since it
    may belong to another program."""
    path.parent.parent.mkdir(parents=True, exist_ok=True)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        path.chmod(0o700)


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the content completely, or leave the file unchanged."""
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
    """Read a private file; refuse one that others may read, since they may know its secret."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise Failed(
                f"{path} can be read by others (mode {mode:04o}). If no other person uses this machine, run "
                f"chmod 600 {path}; otherwise sign in with a new secret."
            )
        return file.read()


def reserve_private_file(path: Path) -> int:
    """Create a new file for a secret that does not exist yet; return its descriptor."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failed(f"{path} already exists, and a secret is only written to a new file.") from None
