"""What ``make`` does with the steps of a target."""

import subprocess
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
RIG = "-m_tests.faults.rig"
MUTANTS = f"{RIG}_mutants"


@pytest.mark.parametrize("failing", [[], [RIG], [MUTANTS], [RIG, MUTANTS]])
def test_the_mutants_are_tried_whatever_the_rig_found_and_either_fails_the_whole(
    tmp_path: Path, failing: list[str]
) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    for name in failing:
        (tmp_path / f"fails{name}").touch()
    # The environment is there, whatever its age.
    made = ["make", "--assume-old=.venv/.installed", f"BIN={tmp_path}", "faults"]
    done = subprocess.run(made, cwd=ROOT, capture_output=True, check=False)
    assert (tmp_path / "asked").read_text().split() == [RIG, MUTANTS]
    assert (done.returncode == 0) == (not failing)
