"""The PostgreSQL that Debian installs, as a cluster of a test's own: with passwords, on a TCP port."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.ports import free_port

ADMIN, PASSWORD = "postgres", "admin-password-of-the-tests"
_ORDINARY_USER = "nobody"


def programs() -> Path | None:
    """The directory of the newest installed one's programs."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), key=lambda path: int(path.parent.name), default=None)


@contextlib.contextmanager
def debian_postgres() -> Iterator[str]:
    """The address of a new server, ``host:port``; ``ADMIN`` with ``PASSWORD`` is its superuser."""
    bin_dir, port = programs(), free_port()
    assert bin_dir is not None
    home = Path(tempfile.mkdtemp(prefix="sg-debian-", dir="/tmp"))
    (home / "password").write_text(f"{PASSWORD}\n")
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        owner = pwd.getpwnam(_ORDINARY_USER)
        for path in (home, home / "password"):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    data = f"--pgdata={home / 'data'}"
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={home} -c fsync=off"
    try:
        _run(
            bin_dir / "initdb",
            data,
            f"--username={ADMIN}",
            f"--pwfile={home / 'password'}",
            "--auth=scram-sha-256",
        )
        _run(bin_dir / "pg_ctl", "start", "--wait", data, f"--log={home / 'log'}", f"--options={options}")
        try:
            yield f"127.0.0.1:{port}"
        finally:
            _run(bin_dir / "pg_ctl", "stop", "--mode=immediate", data)
    finally:
        shutil.rmtree(home)


def _run(program: Path, *arguments: str) -> None:
    root = os.geteuid() == 0
    owner = pwd.getpwnam(_ORDINARY_USER)
    subprocess.run(
        [program, *arguments],
        user=owner.pw_uid if root else None,
        group=owner.pw_gid if root else None,
        extra_groups=[] if root else None,
        cwd="/",
        env={"LC_ALL": "C.UTF-8", "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        # The server keeps what it inherits: to read its output would be to wait for its end.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
