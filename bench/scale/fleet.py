"""Synced servers with their tools. Each is the benchmark's upstream under another name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.domain.definitions import definition_digest
from bench.messages import LEGACY, MODERN, TOOLS
from bench.scale.rows import FALSE, TableRows, document, hyphened, lines, moment, octets, uuid7, uuid7s
from bench.scale.sizes import Size
from bench.seed import SLUG

_SUBJECTS = (
    "billing",
    "search",
    "mail",
    "wiki",
    "tickets",
    "calendar",
    "build",
    "storage",
    "maps",
    "payroll",
)
_PLACES = ("prod", "stage", "test")
_SERVERS, _TOOLS = 1, 2
_YEAR_S = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The servers' ids with their creation times. The load calls the first."""

    size: Size
    url: str
    servers: list[tuple[str, str]]
    begins: float
    syncs_at: str
    """The time of the next sync, which is after the benchmark."""

    def tables(self) -> Iterator[TableRows]:
        """Return the rows to insert, in the order of foreign keys."""
        yield TableRows(
            "servers",
            (
                "id", "created_at", "slug", "name", "description", "labels", "url", "sync_state", "sync_at",
                "sync_due_at", "first_synced_at", "protocol_versions",
            ),
            lines(self._server_rows()),
        )  # fmt: skip
        yield TableRows(
            "tools",
            (
                "id", "server_id", "name", "description", "input_schema", "annotations", "risk", "assessed_risk",
                "state", "risk_overridden", "definition_digest", "approved_digest",
            ),
            lines(self._tool_rows()),
        )  # fmt: skip
        yield TableRows(
            "object_versions", ("object_id", "version", "kind", "valid_from", "content"), lines(self._past())
        )

    def slug(self, number: int) -> str:
        """Return the slug of a server."""
        return SLUG if number == 0 else f"{_SUBJECTS[number % len(_SUBJECTS)]}-{number}"

    def labels(self, number: int) -> dict[str, str]:
        """Return the labels of a server, including its team."""
        return {"team": f"team-{number % self.size.teams}", "env": _PLACES[number % len(_PLACES)]}

    def tools_of(self, number: int) -> Iterator[dict[str, Any]]:
        """Return the tools of a server: those of the upstream, and generated ones."""
        yield from TOOLS
        more = self.size.tools - self.size.servers * len(TOOLS)
        each, rest = divmod(max(0, more), self.size.servers)
        for extra in range(each + (number < rest)):
            name = f"{_SUBJECTS[number % len(_SUBJECTS)]}_report_{number}_{extra}"
            yield {**TOOLS[0], "name": name, "description": f"Write report {extra}."}

    def _server_rows(self) -> Iterator[tuple[str, ...]]:
        for number, (id, at) in enumerate(self.servers):
            name = f"{_SUBJECTS[number % len(_SUBJECTS)].title()} {number}"
            yield (
                id, at, self.slug(number), name, "One of many.", document(self.labels(number)), self.url, "ok",
                at, self.syncs_at, at, f"{{{LEGACY},{MODERN}}}",
            )  # fmt: skip

    def _tool_rows(self) -> Iterator[tuple[str, ...]]:
        for id, server, tool in self._tools():
            digest = octets(definition_digest(tool).hex())
            yield (
                id, server, tool["name"], tool["description"], document(tool["inputSchema"]),
                document(tool["annotations"]), "read", "read", "active", FALSE, digest, digest,
            )  # fmt: skip

    def _tools(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        count = 0
        ms = int(self.begins * 1000)
        for number, (server, _) in enumerate(self.servers):
            for tool in self.tools_of(number):
                count += 1
                yield uuid7(ms + count // 64, count * 64 + _TOOLS), server, tool

    def _kept(self, number: int) -> dict[str, Any]:
        return {"labels": self.labels(number), "slug": self.slug(number), "status": "active"}

    def _past(self) -> Iterator[tuple[str, ...]]:
        for number, (id, at) in enumerate(self.servers):
            yield id, "1", "server", at, document(self._kept(number))
        first = self.servers[0][1]
        for id, server, tool in self._tools():
            digest = definition_digest(tool).hex()
            content: dict[str, Any] = {
                "server_id": hyphened(server),
                "name": tool["name"],
                "title": None,
                "description": tool["description"],
                "input_schema": tool["inputSchema"],
                "output_schema": None,
                "annotations": tool["annotations"],
                "risk": "read",
                "state": "active",
                "definition_digest": digest,
                "approved_digest": digest,
            }
            yield id, "1", "tool_definition", first, document(content)


def make_fleet(size: Size, url: str, begins: float, ends: float) -> Fleet:
    """Make a fleet whose servers were registered one after another between two times in Unix seconds."""
    return Fleet(size, url, uuid7s(size.servers, begins, ends, _SERVERS), begins, moment(ends + _YEAR_S))
