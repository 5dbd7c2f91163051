"""A few builds that are broken on purpose are caught here; all of them by ``make faults``.

That what catches these finds nothing in the service as it is, ``test_rig`` and ``test_cut_unheard`` say.
"""

import pytest

from tests.faults.rig.mutants import MUTANTS, violated

QUICK = ("admitted_at_resume", "audit_after_forward", "notifications_alone")


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
async def test_a_build_that_is_broken_on_purpose_is_caught(name: str) -> None:
    assert await violated(name, MUTANTS[name]) & MUTANTS[name].invariants
