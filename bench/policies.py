"""Made-up published policies, of the kinds that people write: most are about others, or hold for every call alike."""

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
"""Three that read each call of the measured tool, and let it pass by what is told without the engine."""

ASKING = (
    'forbid (principal, action == Action::"call_tool", resource == Tool::"{tool}")'
    " when {{ context.arguments.text == context.client.name }};"
)
"""One that lets it pass as well, of which the engine has to be asked: at each call, for it reads the arguments."""

REPEATING = (
    'forbid (principal, action == Action::"call_tool", resource in Server::"{slug}")'
    ' unless {{ context has ip && context.ip.isInRange(ip("127.0.0.0/8")) }};'
)
"""One that lets it pass too, of which the engine has to be asked, and finds the same for all calls from one address."""


def others(count: int, slug: str, groups: Sequence[UUID]) -> list[str]:
    """As many that read no call of the measured tool."""
    return [_other(number, slug, format_id(GROUP, groups[number % len(groups)])) for number in range(count)]


def _other(number: int, slug: str, group: str) -> str:
    kinds = (
        # About another server, another tool, or what the tool is not; the last two are about everybody on the server.
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
    """Those that read each call of the measured tool, in plain ways."""
    return [text.format(slug=slug, tool=f"{slug}/{TOOL}") for text in READING]


def asking(slug: str) -> list[str]:
    """Those and one more, for which the engine is asked at each call."""
    return [*reading(slug), ASKING.format(tool=f"{slug}/{TOOL}")]


def repeating(slug: str) -> list[str]:
    """Those and one more, for which the engine is asked once for what most calls are like."""
    return [*reading(slug), REPEATING.format(slug=slug)]


async def publish(owner_url: str, texts: Sequence[str]) -> None:
    """Write them as published, and move the set's version as publishing does."""
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
