"""Our annotations of a policy: what they may say, and where they may stand.

Policies that are published are held to this too, and one that breaks it denies whatever is asked. So it may be made
wider, and never narrower.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cedarpy import pst

from app.access.policy.heads import acts_of
from app.domain.policy import Act

REQUIRE_APPROVAL, QUOTA, REASON = "require_approval", "quota", "reason"
KNOWN = frozenset({REQUIRE_APPROVAL, QUOTA, REASON})
MOST_REASON = 500
MOST_GROUP_NAME = 200

_QUOTA = re.compile(r"([1-9][0-9]{0,8}) per day")
_CALLS = frozenset({Act.CALL_TOOL})


@dataclass(frozen=True, slots=True)
class Annotations:
    """What they say: the group that is asked, the uses that there are in a day, and what is told."""

    group: str | None = None
    quota: int | None = None
    reason: str | None = None


def annotations_of(policy: pst.Template) -> Annotations:
    """Those of a policy. Raises ``ValueError`` for one that says, or stands where, it cannot mean anything."""
    for _, fault in faults_of(policy):
        raise ValueError(fault)
    given = policy.annotations
    counted = _QUOTA.fullmatch(given.get(QUOTA, ""))
    return Annotations(
        given.get(REQUIRE_APPROVAL), None if counted is None else int(counted[1]), given.get(REASON)
    )


def faults_of(policy: pst.Template) -> Iterator[tuple[str, str]]:
    """What is wrong with them: the name of the annotation, and why."""
    given = policy.annotations
    if REQUIRE_APPROVAL in given and not _is_line(given[REQUIRE_APPROVAL], MOST_GROUP_NAME):
        detail = 'Name the group whose members may approve, as in @require_approval("finance-leads").'
        yield REQUIRE_APPROVAL, detail
    if QUOTA in given and not _QUOTA.fullmatch(given[QUOTA]):
        yield QUOTA, '@quota is a number of uses a day, as in @quota("20 per day").'
    if QUOTA in given and REQUIRE_APPROVAL in given:
        yield QUOTA, "A policy has @quota or @require_approval, not both: make two policies of it."
    for name in (REQUIRE_APPROVAL, QUOTA):
        if name in given and policy.effect != "forbid":
            yield name, f"@{name} goes with forbid: it softens a denial."
        elif name in given and not acts_of(policy.action) <= _CALLS:
            yield name, f'@{name} is about tool calls: write action == Action::"call_tool" in the head.'
    if REASON in given and not _is_line(given[REASON], MOST_REASON):
        yield (
            REASON,
            f"@reason is one line of text for whoever is denied or asked, of at most {MOST_REASON} characters.",
        )


def _is_line(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isprintable()
