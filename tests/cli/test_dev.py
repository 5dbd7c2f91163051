"""``scopegate dev`` as a newcomer meets it: started, used, stopped, started again."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import sync_playwright

from tests import ports

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "app.cli"]
START_SECONDS = 150.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that the system user of a root's embedded PostgreSQL can reach."""
    place = Path(tempfile.mkdtemp(prefix="sg-dev-", dir="/tmp"))
    place.chmod(0o711)
    yield place / ".scopegate"
    shutil.rmtree(place)


@pytest.fixture
def environment(data_dir: Path, free_port: int) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SCOPEGATE_")}
    return plain | {"SCOPEGATE_DATA_DIR": str(data_dir), "SCOPEGATE_PORT": str(free_port)}


@contextlib.contextmanager
def running(environment: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """``scopegate dev``, ready; killed at the end if the test has not stopped it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "dev"], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Scopegate serves at" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def stopped(process: "subprocess.Popen[bytes]", number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait(60)


def programs_on(data_dir: Path) -> list[str]:
    """Command lines and working directories of processes that have to do with the data directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environ = (process / "environ").read_bytes()
            if str(data_dir) in command or str(data_dir).encode() in environ:
                found.append(command)
    return found


def gone(data_dir: Path, *, but: str = "\0") -> list[str]:
    """What is left on the data directory once it has had a moment to go."""
    deadline = time.monotonic() + 60
    while (left := [one for one in programs_on(data_dir) if but not in one]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def known(data_dir: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((data_dir / "dev.json").read_text())
    return content


def tokens(data_dir: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((data_dir / "dev.json").read_text())["demo"]["tokens"]
    return found


def commands_of(document: str, port: str) -> str:
    """The commands of a document as one script, for this port."""
    text = (ROOT / "docs" / document).read_text()
    blocks = re.findall(r"<!-- runs: [^>]*-->\n```sh\n(.*?)```", text, re.DOTALL)
    script = "set -eu\n" + "\n".join(f"{block}\necho '==='" for block in blocks)
    return script.replace("127.0.0.1:8080", f"127.0.0.1:{port}")


def follow(document: str, port: str, directory: Path) -> str:
    """What the commands of a document print."""
    script = commands_of(document, port)
    followed = subprocess.run(
        ["bash", "-c", script], cwd=directory, capture_output=True, text=True, check=False
    )
    assert followed.returncode == 0, followed.stdout + followed.stderr
    return followed.stdout


def page_of(first: dict[str, Any], *people: str) -> str | None:
    """Sign in at the provider as each person in turn, and return the first page of the last: the others are refused.

    None on a machine without a browser.
    """
    path = shutil.which("chromium")
    if path is None:
        return None
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        ) as browser,
    ):
        page = browser.new_page()
        page.goto(first["console_url"])
        for person in people:
            if person != people[0]:
                page.click("text=Sign in with another account")
            page.fill("input[name=login]", person)
            page.click("button[type=submit]:visible")
            page.fill("input[name=password]", first["oidc"]["passwords"][person])
            page.click("button[type=submit]:visible")
            page.wait_for_url(f"{first['url']}/**")
        return page.inner_text("body")


def test_it_serves_the_story_and_the_tutorial_stops_and_goes_on(
    tmp_path: Path, data_dir: Path, environment: dict[str, str]
) -> None:
    with running(environment, tmp_path / "first.log") as process:
        first = known(data_dir)
        port = environment["SCOPEGATE_PORT"]
        assert first["url"] == f"http://127.0.0.1:{port}"
        assert first["demo"]["servers"] == ["time", "git"]
        assert (data_dir / "dev.json").stat().st_mode & 0o777 == 0o600
        log = (tmp_path / "first.log").read_text()
        assert not re.search(r"sg[tcb]_", log), "a secret was printed"
        passwords = first["oidc"]["passwords"]
        assert set(passwords) == {"ada", "grace", "otto", "nora", "max"}
        assert [name for name, password in passwords.items() if password in log] == []

        named = f"http://localhost:{port}"
        led = httpx2.get(f"{named}/console?q=a", trust_env=False)
        assert (led.status_code, led.headers["location"]) == (307, f"{first['console_url']}?q=a")
        asked = httpx2.post(f"{named}/mcp", headers={"Origin": named}, trust_env=False)
        assert asked.status_code == 401

        for _ in range(2):  # It removes its objects, so it can be repeated.
            story = subprocess.run(
                [*COMMAND, "demo"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert story.returncode == 0, story.stdout + story.stderr

        followed = follow("tutorial/first-token.md", port, data_dir.parent)
        _, _, _, _, listed, called, refused, revoked, trail, *_ = followed.split("===\n")
        assert re.findall(r'"name":\s*"(\w+__\w+)"', listed) == ["time__get_current_time"]
        assert '"isError":true' not in called.replace(" ", "")
        assert "timezone" in called
        assert "Unknown tool: git__git_log" in refused
        assert "needs a valid Scopegate token" in revoked
        assert "tool.call get_current_time allow granted" in trail
        assert "tool.call git_log deny no_grant denied" in trail

        followed = follow("how-to/sign-in-with-oidc.md", port, data_dir.parent)
        owner, auditor, member, stranger = followed.splitlines()[:4]
        assert (json.loads(owner)["type"], json.loads(owner)["role"]) == ("administrator", "owner")
        assert json.loads(auditor)["role"] == "auditor"
        assert (json.loads(member)["type"], json.loads(member)["roles"]) == ("identity", [])
        assert json.loads(stranger)["status"] == 403
        inside, outside = "No pending approvals", "you have no access to this service"
        for people, expected in ((["ada"], inside), (["max"], outside), (["max", "ada"], inside)):
            page = page_of(first, *people)
            assert page is None or expected in page

        second = subprocess.run(
            [*COMMAND, "dev"],
            env=environment | {"SCOPEGATE_PORT": str(ports.free_port())},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == 2
        assert "already runs" in second.stderr
        assert process.poll() is None

        assert stopped(process, signal.SIGINT) == 0
    assert gone(data_dir) == []

    with running(environment, tmp_path / "again.log") as process:
        assert known(data_dir) == first
        assert stopped(process, signal.SIGTERM) == 0
    assert gone(data_dir) == []


def printed_commands(log: str) -> str:
    """What a newcomer pastes from the terminal, but for the line that needs Claude Code; then the list again."""
    lines = [line for line in log.splitlines() if line.startswith("  ") and "claude mcp add" not in line]
    script = "\n".join(lines)
    listing = script[script.index("  curl -s http") : script.index("  BEARER=")]
    return f"set -eu\n{script}\n{listing}"


def test_what_it_prints_works_and_killed_it_is_taken_up_again(
    tmp_path: Path, data_dir: Path, environment: dict[str, str]
) -> None:
    with running(environment, tmp_path / "first.log") as process:
        script = printed_commands((tmp_path / "first.log").read_text())
        pasted = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
        assert pasted.returncode == 0, pasted.stderr
        listed, _, after = pasted.stdout.partition('"changed":true')
        assert '"git__git_log"' in listed
        assert "git__git_commit" not in listed
        assert "needs a valid Scopegate token" in after
        assert '"type":"administrator"' in listed, "ada could not sign in"
        first = tokens(data_dir)
        stopped(process, signal.SIGKILL)
    # The database alone is left, and the next start adopts it.
    assert gone(data_dir, but="postgres") == []
    with running(environment, tmp_path / "again.log") as process:
        second = tokens(data_dir)
        assert second["deploy-agent"] == first["deploy-agent"]
        assert second["maria"] != first["maria"], "a revoked token was handed out again"
        assert stopped(process, signal.SIGTERM) == 0
    assert gone(data_dir) == []
