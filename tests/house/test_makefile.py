"""The steps of ``make`` targets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stands for Python: it notes what it was asked for, and fails at that of which there is a file.
PYTHON = """#!/bin/sh
place=$(dirname "$0")
name=$(echo "$*" | tr ' ' '_')
echo "$name" >> "$place/asked"
[ ! -e "$place/fails$name" ]
"""
NO_INDEX = "http://127.0.0.1:1/simple"
RIG = "-m_tests.faults.rig"
MUTANTS = f"{RIG}_mutants"


@pytest.mark.parametrize("failing", [[], [RIG], [MUTANTS], [RIG, MUTANTS]])
def test_the_mutants_run_after_a_failed_rig_and_either_failure_counts(
    tmp_path: Path, failing: list[str]
) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    for name in failing:
        (tmp_path / f"fails{name}").touch()
    # Assume that the environment is up to date.
    made = ["make", "--assume-old=.venv/.installed", f"BIN={tmp_path}", "faults"]
    done = subprocess.run(made, cwd=ROOT, capture_output=True, check=False)
    assert (tmp_path / "asked").read_text().split() == [RIG, MUTANTS]
    assert (done.returncode == 0) == (not failing)


@pytest.mark.slow
def test_an_installation_without_a_network_names_the_index_as_the_cause(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", f"VENV={tmp_path / 'venv'}", "install"],
        cwd=ROOT,
        env=os.environ | {"PIP_INDEX_URL": NO_INDEX, "PIP_RETRIES": "0", "UV_DEFAULT_INDEX": NO_INDEX},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "The package index cannot be reached" in done.stderr
    assert "No matching distribution" not in done.stderr


@pytest.mark.parametrize(("given", "named"), [((), ".venv"), ((f"PYTHON={sys.executable}",), ".venv-")])
def test_another_python_gets_an_environment_of_its_own(given: tuple[str, ...], named: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS"}}
    made = subprocess.run(
        ["make", "--dry-run", *given, "run"], cwd=ROOT, env=kept, capture_output=True, text=True, check=True
    )
    version = ".".join(str(part) for part in sys.version_info[:3])
    environment = named if named == ".venv" else f"{named}{version}"
    assert f"{environment}/bin/scopegate dev" in made.stdout
