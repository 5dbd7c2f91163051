"""A policy as it decides: what was published of it, and how."""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Mode(StrEnum):
    """``ENFORCE`` decides; ``OBSERVE`` only reports what it would have decided."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class PublishedPolicy:
    """One version of a policy. ``text`` is exactly one Cedar statement."""

    id: UUID
    version: int
    text: str
    mode: Mode = Mode.ENFORCE
