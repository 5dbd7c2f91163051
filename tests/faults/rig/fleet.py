"""The fleet of a run, in cells: a server, a person, a group, a grant and two tokens, used only by the cell."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.faults.rig.history import Granted, Writer
from tests.faults.rig.office import Office
from tests.faults.rig.recorder import ASKS, TOOLS
from tests.faults.upstream import ECHO
from tests.faults.wire import Way

_REMEMBERED = 12


@dataclass(frozen=True, slots=True)
class Token:
    """One token, for the server of its cell. ``issued`` is the time of day in seconds."""

    id: str
    way: Way
    issued: float

    def way_to(self, slug: str) -> Way:
        """How to call another server with it."""
        return replace(self.way, slug=slug) if slug else self.way


@dataclass(slots=True)
class Cell:
    """Objects by id."""

    provisioner: str = ""
    """The source of the person: none, ``scim`` or ``signals``."""
    counted: bool = False
    """Whether a quota counts every call, so that its admission is consuming."""
    asking: bool = False
    """Whether calls of the tool ``asks`` need an approval."""
    person: str = ""
    group: str = ""
    server: str = ""
    slug: str = ""
    tools: dict[str, str] = field(default_factory=dict)
    grant: str = ""
    policy: str = ""
    """That forbids the person everything, while there is one."""
    full: Token | None = None
    """Reaches all that was granted."""
    narrow: Token | None = None
    """Reaches the tool ``echo`` only."""
    dead: list[Token] = field(default_factory=list)
    """Tokens that were, newest last."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while access of the cell is withdrawn, until it is restored."""

    @property
    def live(self) -> list[Token]:
        """The tokens that are not permanently revoked."""
        return [token for token in (self.full, self.narrow) if token is not None]


@dataclass(slots=True)
class Fleet:
    """All cells and their secrets."""

    office: Office
    writer: Writer
    upstream_url: str
    cells: list[Cell] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    async def make(self, cells: Sequence[Cell]) -> None:
        """Make the objects of these cells, whose people already exist if a directory or provider manages them."""

        async def one(cell: Cell) -> None:
            await self.register(cell)
            if not cell.person:
                await self.employ(cell)
            await self.gather(cell)
            await self.issue(cell)
            self.cells.append(cell)

        await asyncio.gather(*(one(cell) for cell in cells))

    async def register(self, cell: Cell) -> None:
        """A server with all tools."""
        cell.slug = f"s-{uuid4().hex[:12]}"
        made = await self.office.made("servers", slug=cell.slug, url=self.upstream_url)
        cell.server = made["id"]
        secret = uuid4().hex + uuid4().hex
        self.secrets.add(secret)
        await self.office.insist(
            "PUT", f"/api/v1/servers/{cell.server}/credential", json={"kind": "bearer", "token": secret}
        )
        for tool in TOOLS:
            made = await self.office.made(
                "tools", server_id=cell.server, name=tool, input_schema={"type": "object"}
            )
            cell.tools[tool] = made["id"]
        if cell.counted:
            await self.publish('@quota("100000000 per day")', cell, ECHO)
        if cell.asking:
            await self.publish('@require_approval("No one in particular")', cell, ASKS)

    async def publish(self, annotation: str, cell: Cell, tool: str) -> None:
        """Publish a policy of a tool of a cell."""
        text = f'{annotation} forbid (principal, action == Action::"call_tool", resource == Tool::"{{}}/{tool}");'
        body = {"name": f"{annotation[1:6]} {cell.slug}", "text": text.format(cell.slug)}
        made = await self.office.made("policies", **body)
        await self.office.insist("POST", f"/api/v1/policies/{made['id']}/publish", headers={"If-Match": "*"})

    async def employ(self, cell: Cell) -> None:
        """Create a person without a directory."""
        made = await self.office.made("identities", kind="person", user_name=f"p-{uuid4().hex[:12]}")
        cell.person = made["id"]

    async def gather(self, cell: Cell) -> None:
        """A group with the person, and its grant."""
        made = await self.office.made("groups", name=f"g-{uuid4().hex[:12]}")
        cell.group = made["id"]
        await self.join(cell)
        await self.grant(cell)

    async def join(self, cell: Cell) -> None:
        """The person's membership."""
        await self.office.insist("PUT", f"/api/v1/groups/{cell.group}/members/{cell.person}")

    async def grant(self, cell: Cell) -> None:
        """The group's grant to the server."""
        made = await self.office.made(
            "grants",
            principal={"type": "group", "id": cell.group},
            servers={"kind": "ids", "ids": [cell.server]},
            tools={"kind": "all"},
        )
        cell.grant = made["id"]

    async def issue(self, cell: Cell, *, narrow: bool = True) -> None:
        """Two tokens of the person, or only the one that reaches everything."""
        if cell.full is not None:
            cell.dead.append(cell.full)
        cell.full = await self._token(cell, {"kind": "grants"}, list(TOOLS))
        if narrow:
            if cell.narrow is not None:
                cell.dead.append(cell.narrow)
            servers = {"kind": "ids", "ids": [cell.server]}
            entry = {"servers": servers, "tools": {"kind": "names", "names": [ECHO]}}
            cell.narrow = await self._token(cell, {"kind": "listed", "entries": [entry]}, [ECHO])
        del cell.dead[:-_REMEMBERED]

    async def _token(self, cell: Cell, scope: dict[str, Any], tools: list[str]) -> Token:
        body = {
            "identity_id": cell.person,
            "name": "laptop",
            "scope": scope,
            "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
        }
        # Without an idempotency key: if an answer is lost, the secret is lost and unused.
        begun = time.monotonic()
        issued = (await self.office.insist("POST", "/api/v1/tokens", json=body)).body
        token = Token(issued["token"]["id"], Way(cell.slug, issued["secret"]), time.time())
        self.secrets.add(issued["secret"])
        self.writer.write(Granted(token.id, cell.slug, tools, begun, cell.counted))
        return token
