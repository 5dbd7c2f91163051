"""`sgctl` as a process: on a terminal, in a pipe, interrupted."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
from scopegate_client import Client

from tests.clients.live import Live

pytestmark = pytest.mark.slow

SGCTL = [sys.executable, "-m", "scopegate_client.cli"]
# Runs a program with Ctrl-C as it is (whoever runs the tests may have it ignored, which children inherit) and, with
# a terminal as its standard input, on that terminal.
LAUNCH = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
if os.isatty(0):
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def owner(open_client: Callable[..., Client]) -> Client:
    """The owner's client, to prepare what a test needs and to look at what came of it."""
    return open_client()


@pytest.fixture
def environment(live: Live, tmp_path: Path) -> dict[str, str]:
    """The environment of a person who is signed in as the owner, by environment."""
    return os.environ | {
        "SGCTL_CONFIG_DIR": str(tmp_path / "config"),
        "SGCTL_CACHE_DIR": str(tmp_path / "cache"),
        "SCOPEGATE_URL": live.url,
        "SCOPEGATE_CLIENT_ID": live.owner_client_id,
        "SCOPEGATE_CLIENT_SECRET": live.owner.secret,
        "TERM": "xterm-256color",
        "COLUMNS": "120",
    }


def on_a_terminal(
    arguments: Sequence[str], environment: dict[str, str], answers: Sequence[tuple[str, str]] = ()
) -> tuple[int, str]:
    """Run it on a terminal of its own, answering each question as it comes; its exit code and what was seen."""
    terminal, end = pty.openpty()
    child = subprocess.Popen(
        [SGCTL[0], "-c", LAUNCH, *SGCTL, *arguments],
        stdin=end,
        stdout=end,
        stderr=end,
        env=environment,
        start_new_session=True,
    )
    os.close(end)
    seen, asked, left, silent_s = "", 0, list(answers), 0
    while silent_s < 60:
        if not select.select([terminal], [], [], 5)[0]:
            silent_s += 5
            if seen.endswith("^C"):
                # Python misses one that comes just before it begins to wait for input. People press it again.
                os.write(terminal, b"\x03")
            continue
        try:
            part = os.read(terminal, 4096)
        except OSError:  # The child has closed its end.
            break
        seen += part.decode()
        if left and left[0][0] in seen[asked:]:
            asked = len(seen)
            os.write(terminal, left.pop(0)[1].encode())
    os.close(terminal)
    return child.wait(60), seen


def test_a_secret_typed_at_the_terminal_is_not_shown(
    live: Live, environment: dict[str, str], tmp_path: Path
) -> None:
    nobody = {key: value for key, value in environment.items() if not key.startswith("SCOPEGATE_")}
    answers = [
        ("Address", f"{live.url}\n"),
        ("Client id", f"{live.owner_client_id}\n"),
        ("Client secret", f"{live.owner.secret}\n"),
    ]
    code, seen = on_a_terminal(["login"], nobody, answers)
    assert code == 0, seen
    assert live.owner.secret not in seen
    assert live.owner.secret in (tmp_path / "config" / "profiles" / "default.json").read_text()


def test_a_new_secret_shows_on_a_terminal_only_when_one_agrees(
    owner: Client, environment: dict[str, str]
) -> None:
    user_name = f"ada-{uuid4().hex[:12]}"
    ada = owner.identities.create(kind="person", user_name=user_name)
    issue = ["token", "issue", "-i", user_name, "--name", "x"]
    code, seen = on_a_terminal(issue, environment, [("only once", "n\n")])
    assert code == 2, seen
    assert list(owner.tokens.list(identity_id=ada.id)) == [], "nothing was issued whose secret nobody saw"
    code, seen = on_a_terminal(issue, environment, [("only once", "y\n")])
    assert code == 0, seen
    assert re.search(r"^sgt_\w+\r$", seen, re.MULTILINE)
    code, seen = on_a_terminal([*issue, "--reveal"], environment)
    assert code == 0, seen
    assert re.search(r"^sgt_\w+\r$", seen, re.MULTILINE)


def test_offboarding_on_a_terminal_asks_first(owner: Client, environment: dict[str, str]) -> None:
    leaver = owner.identities.create(kind="person", user_name=f"leaver-{uuid4().hex[:12]}")
    code, seen = on_a_terminal(["offboard", leaver.id, "-r", "left"], environment, [("[y/N]", "n\n")])
    assert code == 1, seen
    assert owner.identities.get(leaver.id).status == "active"
    code, seen = on_a_terminal(["offboard", leaver.id, "-r", "left"], environment, [("[y/N]", "\x03")])
    assert code == 130, seen
    assert owner.identities.get(leaver.id).status == "active"
    code, seen = on_a_terminal(["offboard", leaver.id, "-r", "left", "--yes"], environment)
    assert code == 0, seen
    assert owner.identities.get(leaver.id).status == "offboarded"


def test_colors_are_left_out_where_no_color_is_set(owner: Client, environment: dict[str, str]) -> None:
    colored, plain = (
        on_a_terminal(["identity", "list", "-n", "3"], environment | more)[1]
        for more in ({"NO_COLOR": ""}, {"NO_COLOR": "1"})
    )
    assert re.search(r"\x1b\[3\dm", colored)
    assert not re.search(r"\x1b\[[0-9;]*3\dm", plain)


def test_a_reader_that_has_enough_is_no_traceback(owner: Client, environment: dict[str, str]) -> None:
    for _ in range(3):
        owner.identities.create(kind="person", user_name=f"many-{uuid4().hex[:12]}")
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [*SGCTL, "identity", "list"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        check=False,
    )
    os.close(writing)
    assert ended.returncode == 141
    assert ended.stderr == ""


def test_interrupting_a_tail_is_130_and_says_how_to_go_on(environment: dict[str, str]) -> None:
    tail = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, *SGCTL, "audit", "tail", "-o", "json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert tail.stdout is not None
    assert tail.stdout.readline().startswith('{"id": "evt_'), "each event comes when it comes, not at the end"
    tail.send_signal(signal.SIGINT)
    _, err = tail.communicate(timeout=60)
    assert tail.returncode == 130
    assert "Traceback" not in err
    assert "To go on from here, with the same filters: --since " in err
