"""A program that the command line starts is gone when it has to be."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.children import Child

STUBBORN = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""
PARENT = """
import os, signal, sys
from app.cli.children import Child
child = Child("x", [sys.executable, "-c", "import signal; signal.pause()"], environment=os.environ)
print(child._process.pid, flush=True)
signal.pause()
"""
BLOCKED = "import signal; raise SystemExit(len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"


def wait_for(path: Path, child: Child) -> None:
    while not path.exists():
        assert child.wait(0.02) is None


def test_a_program_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    command = [sys.executable, "-c", STUBBORN, str(ready)]
    child = Child("x", command, environment=os.environ, grace_seconds=0.2)
    wait_for(ready, child)
    child.stop()
    assert child.exit_code == 128 + signal.SIGKILL


def test_stopping_twice_and_after_the_end_does_nothing() -> None:
    child = Child("x", [sys.executable, "-c", "raise SystemExit(3)"], environment=os.environ)
    assert child.wait(30) == 3
    child.stop()
    child.stop()
    assert child.exit_code == 3


def test_signals_that_are_held_back_here_reach_the_program() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        child = Child("x", [sys.executable, "-c", BLOCKED], environment=os.environ)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert child.wait(30) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's tie to a parent is Linux's")
def test_a_program_ends_with_its_parent_however_that_ends() -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        handle = os.pidfd_open(pid)
        parent.kill()
    try:
        # A pidfd becomes readable when its process ends.
        assert select.select([handle], [], [], 30)[0]
    finally:
        os.close(handle)
