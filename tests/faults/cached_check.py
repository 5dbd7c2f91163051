"""``scopegate serve`` broken on purpose: it admits by what it remembers, as gateways with a cached check do.

Rows are written without their guard, and neither notifications nor the watch on what is in flight make the memory
fresh. The test of revocation must find calls that overtake one here, else it proves nothing.
"""

from dataclasses import replace
from typing import Any

from app.cli import main
from app.features.access.admission import AdmissionWriter
from app.features.access.in_flight import InFlightTable
from app.features.access.rows import Row

_guarded = AdmissionWriter.write


async def _unguarded(writer: AdmissionWriter, row: Row) -> bool:
    return await _guarded(writer, replace(row, rests_on=()))


def _nothing(*_arguments: Any) -> None:
    """In place of what would make the memory fresh."""


if __name__ == "__main__":
    for owner, name, broken in (
        (AdmissionWriter, "write", _unguarded),
        (InFlightTable, "enter", _nothing),
        (InFlightTable, "_heard", _nothing),
    ):
        setattr(owner, name, broken)
    main()
