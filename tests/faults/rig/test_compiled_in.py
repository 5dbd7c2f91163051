"""Failpoints and marks are comments until the rig compiles them in."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.rig.compiled_in import (
    ROOT,
    Action,
    Break,
    InvalidBuild,
    Skip,
    Text,
    Through,
    Value,
    broken,
    compiled,
    failpoints,
    parsed,
)
from tests.faults.rig.provocations import POINTS

_MODULE = """
async def commit():
    # failpoint: before_commit
    # mutation: printed
    print("committed", flush=True)
    # failpoint: after_commit
"""
# Imports the package ``made`` of the working directory as the rig imports the service.
_BUILD = """
import sys
from pathlib import Path
from tests.faults.rig import compiled_in
from tests.faults.rig.compiled_in import Skip, Text, Through, install, parsed

def twice(call, text, **more):
    call(text, **more)
    call(text, **more)

compiled_in.ROOT, compiled_in.PACKAGE = Path.cwd(), "made"
install(parsed(sys.argv[1]), eval(sys.argv[2]) if sys.argv[2:] else {})

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


def test_every_failpoint_exists_and_compiles_to_one_call_on_its_line() -> None:
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


def test_every_provoked_point_exists_in_the_code() -> None:
    assert POINTS.keys() <= failpoints()


def test_a_failpoint_kills_the_process_only_there(package: Path) -> None:
    plain = build(package, "")
    assert plain.stdout.splitlines() == ["committed", "committed", "done"], plain.stderr
    for asked, commits in (
        ("before_commit=kill", 0),
        ("after_commit=kill", 1),
        ("before_commit=kill:2,after_commit=stall:0.01", 1),
    ):
        killed = build(package, asked)
        assert (killed.returncode, killed.stdout.count("committed")) == (-signal.SIGKILL, commits)


def test_a_mutant_changes_only_the_imported_code(package: Path) -> None:
    forgets = '{"printed": Text("committed", "forgot")}'
    changed = build(package, "", forgets)
    assert changed.stdout.splitlines() == ["forgot", "forgot", "done"], changed.stderr
    # The byte code of the real build is neither taken in place of what was changed nor written over by it.
    assert list(package.glob("__pycache__/module.*")) == []
    assert "committed" in build(package, "").stdout
    assert len(list(package.glob("__pycache__/module.*"))) == 1
    assert "forgot" in build(package, "", forgets).stdout
    assert "committed" in build(package, "").stdout
    assert build(package, "", '{"printed": Skip()}').stdout.splitlines() == ["done"]
    assert build(package, "", '{"printed": Through(twice)}').stdout.count("committed") == 4
    assert (
        build(package, "before_commit=kill:2", '{"printed": Through(twice)}').stdout.count("committed") == 2
    )


def test_invalid_failpoints_and_mutants_end_the_start(package: Path) -> None:
    refused = [["nowhere=kill"], ["", '{"nowhere": Skip()}'], ["", '{"printed": Text("absent", "present")}']]
    for arguments in refused:
        refuse(package, *arguments)
    # A mark that is in the package twice says nothing of where it is.
    (package / "other.py").write_text(_MODULE)
    refuse(package, "", '{"printed": Skip()}')


def refuse(package: Path, *arguments: str) -> None:
    refused = build(package, *arguments)
    assert refused.returncode == 1
    assert "InvalidBuild" in refused.stderr
    assert "done" not in refused.stdout


def test_an_unknown_build_does_not_start() -> None:
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
        with pytest.raises(InvalidBuild):
            parsed(text)


def through(_call: object) -> None: ...


async def through_awaited(_call: object) -> None: ...


_HERE = "__import__('sys').modules['tests.faults.rig.test_compiled_in']"


@pytest.mark.parametrize(
    ("statement", "one", "expected"),
    [
        ("call(x)", Skip(), "pass"),
        ("raise Fault(x)", Skip(), "pass"),
        ("self.x = [y for y in x]", Skip(), "pass"),
        ("x = y", Skip(), None),
        ("x, z = y", Skip(), None),
        ("if x:\n        y()", Skip(), None),
        ("return x", Skip(), None),
        ("x: float = 10.0", Value(5.0), "x: float = 5.0"),
        ("return x", Value(value=True), "return True"),
        ("if x(y):\n        z()", Value(value=False), "if False:\n        z()"),
        ("x = 5.0", Value(5.0), None),
        ("x()", Value(5.0), None),
        ("return", Value(5.0), None),
        ("x = 'a b'", Text("b", "c"), "x = 'a c'"),
        ("f(x, f'a b {y} d', e='e')", Text("a b", "c"), "f(x, f'c {y} d', e='e')"),
        ("x = 'a b b'", Text("b", "c"), None),
        ("x = 'a'", Text("b", "c"), None),
        ("x = a", Text("a", "c"), None),
        ("x = f(g(y), z=1)", Through(through), f"x = {_HERE}.through(f, g(y), z=1)"),
        ("return await f(y)", Through(through_awaited), f"return await {_HERE}.through_awaited(f, y)"),
        ("return await f(y)", Through(through), None),
        ("return f(y)", Through(through_awaited), None),
        ("x = y", Through(through), None),
        ("if f(x):\n        y()", Through(through), None),
    ],
)
def test_a_marked_statement_is_broken_or_refused(statement: str, one: Break, expected: str | None) -> None:
    text = f"async def f():\n    g()\n    # mutation: here\n    # Why.\n    {statement}\n    h()\n"
    assert ast.dump(broken(text, {"elsewhere": one})) == ast.dump(ast.parse(text))
    if expected is None:
        with pytest.raises(InvalidBuild, match="line 5"):
            broken(text, {"here": one})
        return
    tree = broken(text, {"here": one})
    assert ast.unparse(tree) == f"async def f():\n    g()\n    {expected}\n    h()"
    compile(tree, "made.py", "exec")


@pytest.mark.parametrize(
    "text",
    [
        "x()\n# mutation: here\n",
        "if x:\n    y()\n# mutation: here\nelse:\n    z()\n",
        "if x:\n    y()\n    # mutation: here\nz()\n",
        "x(\n    # mutation: here\n    y,\n)\nz()\n",
        "# mutation: here\n@x\ndef y():\n    pass\n",
    ],
)
def test_a_mark_that_no_statement_follows_is_refused(text: str) -> None:
    with pytest.raises(InvalidBuild, match="no statement follows the mark here"):
        broken(text, {"here": Skip()})
