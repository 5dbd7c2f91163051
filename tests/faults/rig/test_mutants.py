"""A few builds that are broken on purpose are caught here; all of them by ``make faults``.

That what catches these finds nothing in the service as it is, ``test_rig`` and ``test_cut_unheard`` say.
"""

import ast

import pytest

from tests.faults.rig.breaks import BREAKS
from tests.faults.rig.compiled_in import PACKAGE, ROOT, broken, marks
from tests.faults.rig.mutants import MUTANTS, violated

QUICK = ("admitted_at_resume", "audit_after_forward", "notifications_alone")


def test_every_mark_is_there_once_and_some_mutant_uses_it() -> None:
    used = {name for breaks in BREAKS.values() for name in breaks}
    assert marks() == dict.fromkeys(used, 1)
    lines = [
        line.strip()
        for path in (ROOT / PACKAGE).rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "mutation:" in line
    ]
    # One that is written in another way would be no mark.
    assert sorted(lines) == sorted(f"# mutation: {name}" for name in used)


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_every_mutant_fits_the_source_as_it_is_now(name: str) -> None:
    for path in (ROOT / PACKAGE).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if any(f"# mutation: {mark}\n" in text for mark in BREAKS[name]):
            tree = broken(text, BREAKS[name])
            assert ast.dump(tree) != ast.dump(ast.parse(text))
            compile(tree, path, "exec")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
async def test_a_build_that_is_broken_on_purpose_is_caught(name: str) -> None:
    assert await violated(name, MUTANTS[name]) & MUTANTS[name].invariants
