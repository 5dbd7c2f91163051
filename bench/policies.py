"""Generated policies of common kinds. Most concern other tools or people, or apply to every call equally."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from app.domain.access import POLICY_SET_ID
from app.lib.ids import GROUP, format_id, new_id
from bench.messages import TOOL

READING = (
    (
        'forbid (principal, action == Action::"call_tool", resource == Tool::"{tool}")'
        ' when {{ context.arguments has text && context.arguments.text like "*forbidden*" }};'
    ),
    (
        'forbid (principal, action == Action::"call_tool", resource)'
        ' when {{ context.client has name && context.client.name == "unheard of" }};'
    ),
    (
        '@require_approval("leads") forbid (principal, action == Action::"call_tool", resource in Server::"{slug}")'
        ' when {{ context.time.hour > 23 && context.arguments.text == "" }};'
    ),
)
"""Three policies that read each call of the measured tool and do not apply, which is decided without the engine."""

ASKING = (
    'forbid (principal, action == Action::"call_tool", resource == Tool::"{tool}")'
    " when {{ context.arguments.text == context.client.name }};"
)
"""A policy that needs the engine at each call, because it reads the arguments. It does not apply either."""

REPEATING = (
    'forbid (principal, action == Action::"call_tool", resource in Server::"{slug}")'
    ' unless {{ context has ip && context.ip.isInRange(ip("127.0.0.0/8")) }};'
)
"""A policy that needs the engine once per address. It does not apply either."""


def others(count: int, slug: str, groups: Sequence[UUID]) -> list[str]:
    """Return this many policies that read no call of the measured tool."""
    return [_other(number, slug, format_id(GROUP, groups[number % len(groups)])) for number in range(count)]


def _other(number: int, slug: str, group: str) -> str:
    kinds = (
        # About another server, another tool or another risk. The last two concern everyone on the server.
        f'forbid (principal in Group::"{group}", action, resource in Server::"other-{number}");',
        (
            f'forbid (principal, action == Action::"call_tool", resource == Tool::"{slug}/other_{number}")'
            f" when {{ context.arguments.amount > {number} }};"
        ),
        (
            f'forbid (principal in Group::"{group}", action, resource in Server::"{slug}")'
            ' unless { principal.kind == "person" };'
        ),
        (
            '@require_approval("leads") forbid (principal, action == Action::"call_tool", resource)'
            ' when { resource.risk == "destructive" && context.arguments has force };'
        ),
        (
            f'forbid (principal, action, resource in Server::"{slug}")'
            f' unless {{ principal.kind == "person" || context.time.hour > {number % 24} }};'
        ),
    )
    return kinds[number % len(kinds)]


def reading(slug: str) -> list[str]:
    """Return policies that read each call of the measured tool and do not need the engine."""
    return [text.format(slug=slug, tool=f"{slug}/{TOOL}") for text in READING]


def asking(slug: str) -> list[str]:
    """Return these policies and one that needs the engine at each call."""
    return [*reading(slug), ASKING.format(tool=f"{slug}/{TOOL}")]


def repeating(slug: str) -> list[str]:
    """Return these policies and one that needs the engine once per address."""
    return [*reading(slug), REPEATING.format(slug=slug)]


async def publish(owner_url: str, texts: Sequence[str]) -> None:
    """Insert the policies as published, and increment the version of the set."""
    rows = [
        (new_id(), f"policy {number}", text, "published", 1, text, "enforce")
        for number, text in enumerate(texts)
    ]
    columns = ("id", "name", "text", "status", "version", "published_text", "published_mode")
    connection = await asyncpg.connect(owner_url)
    try:
        async with connection.transaction():
            await connection.copy_records_to_table("policies", columns=columns, records=rows)
            await connection.execute(
                "UPDATE access_versions SET version = version + 1 WHERE id = $1", POLICY_SET_ID
            )
    finally:
        await connection.close()
