"""How builds are broken on purpose: what each has in place of what. A refactoring moves these along."""

from tests.faults.rig.compiled_in import Break, Unfit

BREAKS: dict[str, tuple[Break, ...]] = {
    "no_guard": (
        # What is remembered decides: a row is written whatever has become of its grounds.
        Break(
            "app/features/access/rows.py",
            "WHERE coalesce(v.version, 0) <> ground.version\n),",
            "WHERE false\n),",
        ),
    ),
}


def breaks_of(mutant: str) -> tuple[Break, ...]:
    """How the mutant of this name is broken; not at all when the name is empty. Raises ``Unfit``."""
    if mutant and mutant not in BREAKS:
        raise Unfit(f"there is no mutant {mutant}")
    return BREAKS.get(mutant, ())
