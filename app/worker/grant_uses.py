"""What is used, kept on the side: noted in memory when a call is admitted, written once a minute."""

import asyncio
import logging
from collections.abc import Generator
from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.access.grant_uses import TOOLS, Use, User, write_uses
from app.access.snapshot import DatabaseClock
from app.admission.store import Call
from app.domain.errors import Unavailable
from app.domain.objects import Part, Server, Token
from app.domain.stale import givers
from app.lib.event_loop import in_slices
from app.worker.ports import USE_FLUSH_S, TokenUses

log = logging.getLogger(__name__)

MOST_NOTED = 50_000
"""At so many different uses they are written at once; twice as many are kept while that does not succeed."""
_PARTS: dict[str, Part | None] = {
    "tool.call": None,
    "resource.read": Part.RESOURCES,
    "resource.subscribe": Part.RESOURCES,
    "prompt.get": Part.PROMPTS,
}
"""What counts as a use, by action. A list does not: clients ask for all lists when they start."""

_Key = tuple[int, int, str, str | None]


class GrantUses:
    """What grants were used for. Which ones those are is found out when it is written: every one that gives it."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], clock: DatabaseClock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._noted: dict[_Key, tuple[Token, Server, Part | None, str | None]] = {}
        self._many = asyncio.Event()
        self._lost = False

    def note(self, call: Call) -> None:
        """Note an admitted call, if it uses something of a server."""
        server, action = call.server, call.action
        if server is None or action not in _PARTS:
            return
        # By the objects themselves, which is quick; they are kept along, so that no others come to have their address.
        key = (id(call.token), id(server), action, call.tool)
        if key in self._noted:
            return
        if len(self._noted) >= MOST_NOTED:
            self._many.set()
            if len(self._noted) >= 2 * MOST_NOTED:
                self._lost = True
                return
        self._noted[key] = (call.token, server, _PARTS[action], call.tool)

    async def flush(self) -> None:
        """Write what was noted. Raises what the database raises; nothing is lost then."""
        noted, self._noted = self._noted, {}
        self._many.clear()
        if not noted:
            return
        try:
            uses, users = await in_slices(self._rows(list(noted.values())))
            async with self._sessions() as session:
                await write_uses(session, uses, users)
        except BaseException:
            self._noted = noted | self._noted
            raise
        if self._lost:
            self._lost = False
            log.warning("More was used than could be written: some uses of grants are not on record as such.")

    def _rows(
        self, noted: list[tuple[Token, Server, Part | None, str | None]]
    ) -> Generator[None, None, tuple[set[Use], set[User]]]:
        uses: set[Use] = set()
        users: set[User] = set()
        now = self._clock.now()
        for token, server, part, tool in noted:
            yield
            name = None if part is not None else tool
            for link in token.chain():
                for grant_id in givers(link.identity, server, name, part, now):
                    uses.add((grant_id, server.id, TOOLS if part is None else part.value, name or ""))
                    users.add((grant_id, link.identity.id))
        return uses, users

    async def run(self) -> None:
        """Flush once a minute, or when much was noted, until cancelled; a database that is away is tried again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(USE_FLUSH_S):
                    await self._many.wait()
            try:
                await self.flush()
            except (Unavailable, SQLAlchemyError, OSError):
                await asyncio.sleep(USE_FLUSH_S)


class CallUses:
    """What each admitted call is a use of: its token, and the grants that gave the right to it."""

    def __init__(self, tokens: TokenUses, grants: GrantUses) -> None:
        self.tokens = tokens
        self.grants = grants

    def note(self, call: Call, *, runs: bool) -> None:
        """Note a call that is on record; one that does not run uses no grant."""
        self.tokens.note(call.token.id)
        if runs:
            self.grants.note(call)

    async def flush(self) -> None:
        """Write both."""
        try:
            await self.tokens.flush()
        finally:
            await self.grants.flush()

    async def run(self) -> None:
        """Write both, now and then, until cancelled."""
        await asyncio.gather(self.tokens.run(), self.grants.run())


def uses_of(sessions: async_sessionmaker[AsyncSession], clock: DatabaseClock) -> CallUses:
    """What a worker notes of its calls."""
    return CallUses(TokenUses(sessions), GrantUses(sessions, clock))
