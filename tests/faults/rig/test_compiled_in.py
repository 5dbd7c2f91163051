"""Failpoints are comments until the rig compiles them in, and every mutant still fits the source."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.rig.breaks import BREAKS
from tests.faults.rig.compiled_in import ROOT, Action, Unfit, compiled, failpoints, parsed
from tests.faults.rig.provoking import POINTS

_MODULE = """
async def commit():
    # failpoint: before_commit
    print("committed", flush=True)
    # failpoint: after_commit
"""
# Imports the package ``made`` of the working directory as the rig imports the service.
_BUILD = """
import sys
from pathlib import Path
from tests.faults.rig import compiled_in
from tests.faults.rig.compiled_in import Break, install, parsed

compiled_in.ROOT, compiled_in.PACKAGE = Path.cwd(), "made"
install(parsed(sys.argv[1]), [Break("made/module.py", *sys.argv[2:])] if sys.argv[2:] else [])

import asyncio
from made import module

asyncio.run(module.commit())
asyncio.run(module.commit())
print("done")
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with one module that has failpoints."""
    place = tmp_path / "made"
    place.mkdir()
    (place / "__init__.py").touch()
    (place / "module.py").write_text(_MODULE)
    return place


def build(package: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Two commits in a process of a build of the package."""
    return subprocess.run(
        [sys.executable, "-c", _BUILD, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": ""},
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_named_points_are_there_and_each_compiles_into_one_call_on_its_line() -> None:
    names = failpoints()
    assert names >= {
        "before_admission", "after_admission", "before_forward", "after_forward", "before_outcome", "before_commit",
        "after_commit", "before_settlement", "after_settlement", "between_reads", "before_noting",
    }  # fmt: skip
    seen: set[str] = set()
    for path in (ROOT / "app").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if "# failpoint:" not in text:
            continue
        changed = compiled(text, names)
        assert "# failpoint:" not in changed, f"{path} has one that is no line of its own"
        assert len(changed.splitlines()) == len(text.splitlines())
        ast.parse(changed)
        # A name that stands twice would not say where it is.
        here = {name for name in names if changed.count(f'; reach("{name}")') == 1}
        assert not here & seen
        seen |= here
    assert seen == names


def test_whatever_has_to_be_brought_about_is_a_point_in_the_code() -> None:
    assert POINTS.keys() <= failpoints()


def test_a_point_kills_the_process_there_and_at_no_other_time(package: Path) -> None:
    plain = build(package, "")
    assert plain.stdout.splitlines() == ["committed", "committed", "done"], plain.stderr
    for asked, commits in (
        ("before_commit=kill", 0),
        ("after_commit=kill", 1),
        ("before_commit=kill:2,after_commit=stall:0.01", 1),
    ):
        killed = build(package, asked)
        assert (killed.returncode, killed.stdout.count("committed")) == (-signal.SIGKILL, commits)


def test_a_change_is_made_to_what_is_imported_and_leaves_nothing_behind(package: Path) -> None:
    broken = build(package, "", '"committed"', '"forgot"')
    assert broken.stdout.splitlines() == ["forgot", "forgot", "done"], broken.stderr
    # The byte code of the real build is neither taken in place of what was changed nor written over by it.
    assert list(package.glob("__pycache__/module.*")) == []
    assert "committed" in build(package, "").stdout
    assert len(list(package.glob("__pycache__/module.*"))) == 1
    assert "forgot" in build(package, "", '"committed"', '"forgot"').stdout
    assert "committed" in build(package, "").stdout


def test_what_does_not_fit_ends_the_start(package: Path) -> None:
    for arguments in (["nowhere=kill"], ["", "absent", "present"], ["", "commit", "twice and more"]):
        refused = build(package, *arguments)
        assert refused.returncode == 1
        assert "Unfit" in refused.stderr
        assert "done" not in refused.stdout


def test_a_build_that_there_is_not_does_not_start() -> None:
    for environment in ({"RIG_FAILPOINTS": "nowhere=kill"}, {"RIG_MUTANT": "perfect"}):
        refused = subprocess.run(
            [sys.executable, "-m", "tests.faults.rig.serve", "version"],
            env={**os.environ, **environment},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert refused.returncode == 1
        assert refused.stderr.startswith("there ")


def test_what_happens_is_said_in_a_few_words() -> None:
    assert parsed("") == {}
    assert parsed("a_b=kill,c=kill:3,d=stall:0.5,e=stop:2") == {
        "a_b": Action(1),
        "c": Action(3),
        "d": Action(0, 0.5),
        "e": Action(2, sends=signal.SIGSTOP),
    }
    for text in ("a", "a=", "a=kill:0", "a=kill:x", "a=stall", "a=sing", "a=kill b=kill"):
        with pytest.raises(Unfit):
            parsed(text)


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_every_mutant_fits_the_source_as_it_is_now(name: str) -> None:
    texts: dict[str, str] = {}
    for one in BREAKS[name]:
        text = texts.get(one.path) or (ROOT / one.path).read_text(encoding="utf-8")
        texts[one.path] = one.applied(text)
        ast.parse(texts[one.path])
