"""The client's README is true: its scripts run, and it names every method."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scopegate_client import Client

from tests.clients.live import Live
from tests.clients.names import name

README = Path(__file__).parents[2] / "clients" / "python" / "README.md"
SCRIPTS = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def environment(live: Live, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """What the README has one export."""
    (tmp_path / "secret").write_text(live.owner.secret)
    monkeypatch.setenv("SCOPEGATE_URL", live.url)
    monkeypatch.setenv("SCOPEGATE_CLIENT_ID", live.owner_client_id)
    monkeypatch.setenv("SCOPEGATE_CLIENT_SECRET_FILE", str(tmp_path / "secret"))
    return dict(os.environ)


def test_a_leaver_is_offboarded_by_a_script_of_under_fifteen_lines(
    environment: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "offboard.py"
    script.write_text(SCRIPTS[0])
    assert SCRIPTS[0].startswith("# offboard.py")
    assert len(SCRIPTS[0].splitlines()) < 15
    number = name("4711")
    with Client() as client:
        grace = client.identities.create(
            kind="person", user_name=number, display_name="Grace Hopper", external_id=number
        )
        command = [sys.executable, "-W", "error", str(script), number]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        assert re.match(r"Grace Hopper: receipt evt_\w+\nended 0 tokens, suspended 0 agents\n", done.stdout)
        assert client.identities.get(grace.id).status == "offboarded"
    unknown = subprocess.run(
        [*command[:-1], "4712"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (unknown.returncode, unknown.stderr) == (1, "No identity has the external ID 4712.\n")


def test_all_other_scripts_run_one_after_the_other(
    environment: dict[str, str], live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client() as client:
        client.identities.create(kind="person", user_name="ada", display_name="Ada")
        server = client.servers.create(slug="notes", name="Notes", url=live.upstream_url)
        client.servers.sync(server.id)
    namespace: dict[str, object] = {"Client": Client}
    for script in SCRIPTS[1:]:
        exec(compile(script, "README.md", "exec", dont_inherit=True), namespace)
    shown = capsys.readouterr().out
    assert "notes ok 3" in shown
    assert re.search(r"tok_\w+ \*{10}\n", shown)
    assert "continue later after" in shown
    assert "name_taken req_" in shown
    left_open = namespace["scopegate"]
    assert isinstance(left_open, Client)
    left_open.close()


def methods(resource: object) -> set[str]:
    """The public methods of a resource."""
    return {method for method in dir(resource) if not method.startswith("_")}


def test_the_readme_names_every_method() -> None:
    table = dict(re.findall(r"^\| `(\w+)` \| (`.*`) \|$", README.read_text(encoding="utf-8"), re.MULTILINE))
    with Client("https://scopegate.test", access_token="none") as client:
        resources = {
            attribute: getattr(client, attribute) for attribute in dir(client) if attribute[0] != "_"
        }
    there = {
        attribute: methods(resource)
        for attribute, resource in resources.items()
        if type(resource).__name__.endswith("Resource")
    }
    assert {attribute: set(re.findall(r"`(\w+)`", names)) for attribute, names in table.items()} == there
