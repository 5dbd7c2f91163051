"""``scopegate hash-password`` reads a password from a pipe or a terminal, never from its arguments."""

import os
import pty
import subprocess
import sys

import pytest

from app.crypto.passwords import matches_hash

COMMAND = [sys.executable, "-m", "app.cli", "hash-password"]
PASSWORD = "correct horse battery"


def piped(sent: bytes, *more: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run([*COMMAND, *more], input=sent, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\nanother line\n"])
def test_the_first_line_of_a_pipe_is_hashed(ending: bytes) -> None:
    done = piped(PASSWORD.encode() + ending)
    assert (done.returncode, done.stderr) == (0, b"")
    assert matches_hash(PASSWORD, done.stdout.decode().removesuffix("\n"))


@pytest.mark.parametrize(
    "sent",
    [b"", b"\n", b"too short\n", b"x" * 1025, b"\xff" * 20, b"nul \x00 character", b"a tab\tin between"],
)
def test_what_is_not_acceptable_is_refused_in_one_line_that_does_not_repeat_it(sent: bytes) -> None:
    done = piped(sent)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert len(sent) < 5 or sent.strip() not in done.stderr


def test_a_password_in_the_arguments_is_not_taken() -> None:
    assert piped(b"", PASSWORD).returncode == 2


@pytest.mark.parametrize(("again", "code"), [(PASSWORD, 0), ("something different", 2)])
def test_a_terminal_is_asked_twice_and_shows_nothing(again: str, code: int) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        COMMAND, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    os.close(theirs)
    assert running.stderr is not None
    for prompt, answer in ((b"Password: ", PASSWORD), (b"The same again: ", again)):
        # What is typed before the prompt is thrown away.
        seen = b""
        while not seen.endswith(prompt):
            seen += running.stderr.read(1)
        os.write(ours, f"{answer}\n".encode())
    out, err = running.communicate(timeout=60)
    os.set_blocking(ours, False)
    shown = err + _echo(ours)
    os.close(ours)
    assert running.returncode == code
    assert PASSWORD.encode() not in out + shown
    assert matches_hash(PASSWORD, out.decode().strip()) is (code == 0)


def _echo(terminal: int) -> bytes:
    """What the terminal showed by itself of what was typed."""
    try:
        return os.read(terminal, 10_000)
    except OSError:
        return b""
