"""Fills an empty, migrated database: one server, people in groups with grants for it, and many tokens.

The rows are inserted directly. The API would create the same rows with thousands of requests.
"""

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from app.crypto.keys import Peppers
from app.domain.definitions import definition_digest
from app.domain.token_format import SCOPED_TOKEN, SECRET_BYTES, format_credential, parse_credential
from app.lib.ids import new_id
from bench.messages import LEGACY, MODERN, TOOLS

SLUG = "bench"
IDENTITIES = 500
GROUPS = 20

_EVERY_TOOL = {"kind": "names", "names": [tool["name"] for tool in TOOLS]}


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Seeded:
    """The seeded data: ids, and the secret of each token in ``credentials``."""

    server: UUID
    groups: list[UUID]
    identities: list[UUID]
    tokens: list[UUID]
    credentials: list[str] = field(repr=False)


async def seed(owner_url: str, pepper: bytes, upstream_url: str, tokens: int) -> Seeded:
    """Write the rows."""
    server, group_ids = new_id(), [new_id() for _ in range(GROUPS)]
    identity_ids = [new_id() for _ in range(IDENTITIES)]
    grant_ids = [new_id() for _ in group_ids]
    token_rows, secret_rows, texts = _tokens(Peppers([pepper]), server, identity_ids, tokens)
    tables = [
        _Table(
            "servers",
            ("id", "slug", "name", "url", "sync_state", "protocol_versions"),
            [(server, SLUG, "Benchmark", upstream_url, "ok", [LEGACY, MODERN])],
        ),
        _Table("tools", _TOOL_COLUMNS, [_tool_row(server, tool) for tool in TOOLS]),
        _Table("groups", ("id", "name"), [(id, f"group {n}") for n, id in enumerate(group_ids)]),
        _Table(
            "identities",
            ("id", "kind", "user_name"),
            [(id, "person", f"person{n}") for n, id in enumerate(identity_ids)],
        ),
        _Table(
            "group_members",
            ("id", "group_id", "identity_id"),
            [(new_id(), group_ids[n % GROUPS], id) for n, id in enumerate(identity_ids)],
        ),
        _Table(
            "grants",
            ("id", "group_id", "servers", "tools", "resources", "prompts"),
            [
                (grant, group, json.dumps(_this_server(server)), json.dumps(_EVERY_TOOL), False, False)
                for grant, group in zip(grant_ids, group_ids, strict=True)
            ],
        ),
        _Table("tokens", ("id", "identity_id", "name", "scope", "expires_at"), token_rows),
        _Table("token_secrets", ("id", "token_id", "digest", "pepper_key_id"), secret_rows),
        _versions([server, *group_ids, *identity_ids, *grant_ids, *(row[0] for row in token_rows)]),
    ]
    connection = await asyncpg.connect(owner_url)
    try:
        async with connection.transaction():
            for table in tables:
                await connection.copy_records_to_table(table.name, columns=table.columns, records=table.rows)
        # In production, autovacuum would have done this.
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return Seeded(server, group_ids, identity_ids, [row[0] for row in token_rows], texts)


_TOOL_COLUMNS = (
    "id", "server_id", "name", "description", "input_schema", "annotations", "risk", "assessed_risk", "state",
    "definition_digest", "approved_digest",
)  # fmt: skip


def _tool_row(server: UUID, tool: dict[str, Any]) -> tuple[object, ...]:
    digest = definition_digest(tool)
    schema, annotations = json.dumps(tool["inputSchema"]), json.dumps(tool["annotations"])
    described = (tool["name"], tool["description"], schema, annotations)
    return (new_id(), server, *described, "read", "read", "active", digest, digest)


def _tokens(
    peppers: Peppers, server: UUID, identity_ids: Sequence[UUID], count: int
) -> tuple[list[tuple[UUID, UUID, str, str, datetime]], list[tuple[UUID, UUID, bytes, str]], list[str]]:
    expires_at = datetime.now(UTC) + timedelta(days=30)
    entry = {"servers": _this_server(server), "tools": _EVERY_TOOL, "resources": False, "prompts": False}
    scope = json.dumps({"kind": "listed", "entries": [entry]})
    rows, secret_rows, texts = [], [], []
    for number in range(count):
        token = new_id()
        text = format_credential(SCOPED_TOKEN, token, secrets.token_bytes(SECRET_BYTES))
        credential = parse_credential(text, SCOPED_TOKEN)
        if credential is None:
            raise AssertionError("a new credential always parses")
        identity = identity_ids[number % len(identity_ids)]
        rows.append((token, identity, f"token {number}", scope, expires_at))
        digest = peppers.digest(credential.digest_input)
        secret_rows.append((new_id(), token, digest, peppers.current_id))
        texts.append(text)
    return rows, secret_rows, texts


def _this_server(server: UUID) -> dict[str, Any]:
    return {"kind": "ids", "ids": [str(server)]}


def _versions(ids: Iterable[object]) -> _Table:
    return _Table("access_versions", ("id", "version"), [(id, 1) for id in ids])
