"""The steps of the Dockerfile run, outside a container if there is no engine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Directories of the image that the steps write to; outside a container they lie under a scratch root.
IMAGE_DIRS = ("/build", "/opt/scopegate", "/data")
# Where packages come from is said by variables of these names.
PASSED_ON = ("PIP_", "UV_", "SSL_", "NPM_", "npm_")
# What would change this machine is left to the real image.
STAND_INS = ("useradd", "chown")
# As in .dockerignore: these files are built again.
LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", "assets")

pytestmark = pytest.mark.slow


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def inside(root: Path, text: str) -> str:
    for directory in IMAGE_DIRS:
        # Where a path begins, and not in the middle of one.
        text = re.sub(rf"(?<![\w.]){directory}\b", lambda found: f"{root}{found[0]}", text)
    return text


def stand_ins(root: Path) -> Path:
    programs = root / "programs"
    programs.mkdir(parents=True)
    scripts = {"python": f'exec "{sys.executable}" "$@"', **dict.fromkeys(STAND_INS, "exit 0")}
    for name, line in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    return programs


def copy(root: Path, workdir: Path, arguments: str) -> None:
    """Copy from the checkout, or from another stage: all of them lie under the one root."""
    *sources, target = arguments.split()
    context = ROOT
    if sources[0].startswith("--from="):
        context, sources = root, [inside(root, source) for source in sources[1:]]
    destination = workdir / inside(root, target)
    for origin in (context / source for source in sources):
        if origin == destination:
            continue
        if origin.is_dir():
            shutil.copytree(origin, destination, ignore=LEFT_OUT if context == ROOT else None, symlinks=True)
        else:
            shutil.copy(origin, destination)


@pytest.mark.timeout(600)
def test_the_steps_of_the_dockerfile_give_a_working_command(tmp_path: Path) -> None:
    environment = {"PATH": f"{stand_ins(tmp_path)}:{os.environ['PATH']}", "HOME": os.environ.get("HOME", "/")}
    environment |= {key: os.environ[key] for key in os.environ if key.startswith(PASSED_ON)}
    workdir = tmp_path
    for name, rest in instructions():
        if name == "WORKDIR":
            workdir = Path(inside(tmp_path, rest))
            workdir.mkdir(parents=True, exist_ok=True)
        elif name == "COPY":
            copy(tmp_path, workdir, rest)
        elif name == "RUN":
            step = ["/bin/sh", "-ec", inside(tmp_path, rest)]
            subprocess.run(step, cwd=workdir, env=environment, check=True)
    command = tmp_path / "opt/scopegate/bin/scopegate"
    # From another directory: the checkout must not be what answers.
    help_command = [str(command), "--help"]
    answer = subprocess.run(
        help_command, cwd="/", env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "serve" in answer.stdout
    package = next((tmp_path / "opt/scopegate/lib").glob("python*/site-packages/app"))
    assert (package / "_alembic" / "env.py").exists()
    assert (package / "adapters" / "console" / "assets" / "manifest.json").exists()


def test_the_image_runs_as_an_ordinary_user() -> None:
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users
    assert users[-1].split(":")[0] not in ("0", "root")
