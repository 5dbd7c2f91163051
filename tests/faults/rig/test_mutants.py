"""A few builds that are broken on purpose are caught here; all of them by ``make faults``."""

import pytest

from tests.faults.rig.mutants import MUTANTS, violated

QUICK = ("audit_after_forward", "notifications_alone")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
async def test_a_build_that_is_broken_on_purpose_is_caught(name: str) -> None:
    assert await violated(name, MUTANTS[name]) & MUTANTS[name].invariants


@pytest.mark.slow
async def test_what_catches_them_complains_of_no_sound_build() -> None:
    assert await violated("", MUTANTS["notifications_alone"]) == frozenset()
