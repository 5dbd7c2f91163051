"""A run of the tests that is killed leaves no process and no file."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import watchdog
from tests.house.tracked import ROOT

PATIENCE_S = 60.0
# It holds a database, a program with an environment of its own, and itself.
RUN = """
import os, pathlib, signal, subprocess, sys

def test_that_is_in_the_middle(empty_database_url, pytestconfig):
    shared = pathlib.Path(os.environ["SG_TEST_SHARED_DIR"])
    server = (shared / "data/postgres/cluster/postmaster.pid").read_text().splitlines()[0]
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], env={})
    report = pathlib.Path(__file__).with_name("report")
    report.with_suffix(".new").write_text(f"{shared} {server} {program.pid} {os.getpid()}")
    report.with_suffix(".new").rename(report)
    signal.pause()
"""


@pytest.fixture
def run(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run with one worker, which is in the middle of its test."""
    test = tmp_path / "test_middle.py"
    test.write_text(RUN)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SG_"))
    }
    options = ("-q", "-n", "1", "-p", "tests.conftest", "-p", "no:cacheprovider", f"--rootdir={tmp_path}")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, "-c", ROOT / "pyproject.toml", test],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def report_of(run: "subprocess.Popen[bytes]", folder: Path) -> tuple[Path, list[int]]:
    """The directory of the run and the processes in it: a program, PostgreSQL, the worker."""
    deadline = time.monotonic() + PATIENCE_S
    while not (folder / "report").exists():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    shared, *processes = (folder / "report").read_text().split()
    return Path(shared), [int(process) for process in processes]


def await_end(process: int) -> None:
    """Wait until a process that is not a child has ended."""
    try:
        handle = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([handle], [], [], PATIENCE_S)
        assert ended, f"process {process} runs on"
    finally:
        os.close(handle)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_a_killed_run_leaves_no_process_and_no_directory(
    run: "subprocess.Popen[bytes]", tmp_path: Path
) -> None:
    shared, processes = report_of(run, tmp_path)
    (dog,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and str(shared).encode() in (entry / "cmdline").read_bytes().split(b"\0")
    ]
    os.kill(run.pid, signal.SIGKILL)
    for process in (*processes, dog):
        await_end(process)
    assert not shared.exists()


def leftover(place: Path, name: str) -> Path:
    shared = place / f"{watchdog.PREFIX}{name}"
    (shared / "data").mkdir(parents=True)
    (shared / "alive").touch()
    return shared


def test_a_run_that_starts_removes_what_dead_ones_left_and_nothing_else(tmp_path: Path) -> None:
    dead, alive, other = leftover(tmp_path, "dead"), leftover(tmp_path, "alive"), tmp_path / "other"
    other.mkdir()
    environment = {**os.environ, watchdog.SHARED_DIR: str(dead)}
    with (alive / "alive").open() as lock, subprocess.Popen(["sleep", "1000"], env=environment) as process:
        fcntl.flock(lock, fcntl.LOCK_EX)
        watchdog.remove_leftovers([tmp_path, tmp_path / "missing"])
        assert process.wait() == -signal.SIGKILL
        assert sorted(tmp_path.iterdir()) == [other, alive]
