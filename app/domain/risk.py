"""How dangerous a tool is, read from its MCP annotations and its name.

Source: MCP ``ToolAnnotations`` (``readOnlyHint``, ``destructiveHint``; the hint's own default for a tool
that is said not to be read-only is destructive). A server's word alone never lowers the risk below what
the name says: a tool that is named ``delete_repo`` and calls itself read-only is destructive.
"""

import re
from collections.abc import Mapping
from enum import StrEnum


class Risk(StrEnum):
    """What a call may do to the world."""

    READ = "read"
    WRITE = "write"
    DESTRUCTIVE = "destructive"
    UNKNOWN = "unknown"


_DESTRUCTIVE_WORDS = frozenset(
    "delete remove destroy drop purge wipe erase truncate kill terminate revoke reset uninstall".split()
)
_WRITE_WORDS = frozenset(
    "create add write update set put post send insert edit modify commit push merge rename move copy "
    "upload save publish install start stop run execute exec invoke apply checkout init assign close "
    "open approve submit pay refund transfer book order".split()
)
_READ_WORDS = frozenset(
    "get list read search find fetch show describe view query count status log diff lookup check "
    "convert compare explain summarize browse".split()
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def _risk_of_name(name: str) -> Risk:
    words = {word.lower() for word in _WORD.findall(name)}
    if words & _DESTRUCTIVE_WORDS:
        return Risk.DESTRUCTIVE
    if words & _WRITE_WORDS:
        return Risk.WRITE
    if words & _READ_WORDS:
        return Risk.READ
    return Risk.UNKNOWN


def _risk_of_annotations(annotations: Mapping[str, object]) -> Risk:
    read_only = annotations.get("readOnlyHint")
    destructive = annotations.get("destructiveHint")
    if read_only is True:
        return Risk.DESTRUCTIVE if destructive is True else Risk.READ
    if destructive is True:
        return Risk.DESTRUCTIVE
    if destructive is False:
        return Risk.WRITE
    return Risk.DESTRUCTIVE if read_only is False else Risk.UNKNOWN


def assess(name: str, annotations: Mapping[str, object] | None) -> Risk:
    """The risk of a tool by its name and annotations.

    Annotations that say something count, except that a claim of read-only yields to a name that says
    otherwise. Without annotations the name decides; an unclear name is ``unknown``.
    """
    by_name = _risk_of_name(name)
    by_annotations = _risk_of_annotations(annotations or {})
    if by_annotations is Risk.UNKNOWN:
        return by_name
    if by_annotations is Risk.READ and by_name is Risk.DESTRUCTIVE:
        return Risk.DESTRUCTIVE
    return by_annotations
