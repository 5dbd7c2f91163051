"""The wheel stands alone: in an empty environment, without the server, it does what the README says."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from scopegate_client import Client

from tests.clients.live import Live
from tests.clients.names import name
from tests.clients.test_readme import README, SCRIPTS

ROOT = Path(__file__).parents[2]
# What the README begins with, without comments.
BUILDING = [
    line.partition("#")[0].strip()
    for line in re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0].splitlines()
]
ALONE = """
import importlib.util, pathlib, scopegate_client
assert "site-packages" in scopegate_client.__file__, scopegate_client.__file__
assert (pathlib.Path(scopegate_client.__file__).parent / "py.typed").exists()
for name in ("app", "fastapi", "sqlalchemy", "httpx2", "pydantic"):
    assert importlib.util.find_spec(name) is None, name
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """What a program says that succeeds; it sees nothing of this checkout or of the settings of a client."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SCOPEGATE_", "PYTHON"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as the README says."""
    target = tmp_path_factory.mktemp("wheel") / "dist"
    made, _ = BUILDING
    assert made == "make wheel"
    run(*made.split(), f"DIST={target}", f"VENV={sys.prefix}", cwd=ROOT)
    assert list(target.glob("scopegate-*.whl"))
    [built] = target.glob("scopegate_client-*.whl")
    return built


def install_with_command() -> str:
    """How the README has the command line installed."""
    [command] = re.findall(r"`(pip install .*\[cli\].*?)`", README.read_text(encoding="utf-8"))
    return str(command)


def test_the_wheel_holds_the_package_its_types_and_its_licence(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "scopegate_client/py.typed" in names
    assert "scopegate_client/_generated/client.py" in names
    assert any(path.endswith("licenses/LICENSE") for path in names)
    assert not [path for path in names if not path.startswith("scopegate_client")]


def test_the_wheel_works_in_an_empty_environment(wheel: Path, live: Live, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    # As the README has it, where pip is that of the environment.
    _, install = BUILDING
    environment = f"{python.parent}:{os.environ['PATH']}"
    run("sh", "-c", install, cwd=wheel.parents[1], PATH=environment, PIP_DISABLE_PIP_VERSION_CHECK="1")
    run(python, "-c", ALONE, cwd=tmp_path)
    run("sh", "-c", install_with_command(), cwd=wheel.parents[1], PATH=environment)
    assert "login" in run(python.parent / "sgctl", "--help", cwd=tmp_path)
    (tmp_path / "offboard.py").write_text(SCRIPTS[0])
    number = name("4711")
    with Client(live.url, client_id=live.owner_client_id, client_secret=live.owner.secret) as client:
        client.identities.create(kind="person", user_name=number, display_name="Grace", external_id=number)
    said = run(
        python,
        *("-W", "error", tmp_path / "offboard.py", number),
        cwd=tmp_path,
        SCOPEGATE_URL=live.url,
        SCOPEGATE_CLIENT_ID=live.owner_client_id,
        SCOPEGATE_CLIENT_SECRET=live.owner.secret,
    )
    assert re.match(r"Grace: receipt evt_\w+\n", said)
