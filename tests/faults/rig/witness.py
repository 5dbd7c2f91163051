"""Stores checkpoints outside the database, like a witness, to detect a log that was signed again."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from tests.faults.harness import fetch
from tests.faults.rig.site import Site

_EVERY_S = 2.0
_WITHIN_S = 1.5
_MOST = 40
_NEWEST = "SELECT tree_size, note FROM audit_checkpoints ORDER BY tree_size DESC LIMIT 1"


@dataclass(slots=True)
class Witness:
    """Fetches the newest checkpoint now and then."""

    here: Site
    stopping: bool = False

    async def work(self) -> None:
        """Until ``stopping``."""
        # While PostgreSQL is started, it has no address.
        place, url = _place(self.here), self.here.cluster.url
        place.mkdir(exist_ok=True)
        while not self.stopping:
            # While the database is away nothing is sealed.
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with asyncio.timeout(_WITHIN_S):
                    rows = await fetch(url, _NEWEST)
                for row in rows:
                    (place / f"{row['tree_size']:012}.note").write_text(row["note"], encoding="utf-8")
            await asyncio.sleep(_EVERY_S)


def _place(here: Site) -> Path:
    return here.place / "checkpoints"


def stored_checkpoints(here: Site) -> list[Path]:
    """The checkpoints that were kept, or some of many, oldest first; the newest is among them."""
    found = sorted(_place(here).glob("*.note"))
    return found[:: -max(1, len(found) // _MOST)][::-1]
