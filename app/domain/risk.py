"""The risk of a tool, assessed from its MCP annotations and its name.

Source: MCP ``ToolAnnotations`` (``readOnlyHint``, ``destructiveHint``; a tool that is not read-only is destructive by
default). Annotations never lower the risk that the name suggests: a tool named ``delete_repo`` that claims to be
read-only is destructive.
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


_SEVERITY = {Risk.UNKNOWN: 0, Risk.READ: 1, Risk.WRITE: 2, Risk.DESTRUCTIVE: 3}


def assess(name: str, annotations: Mapping[str, object] | None) -> Risk:
    """The risk of a tool: the higher of those of its name and its annotations; ``unknown`` if neither says."""
    return max(_risk_of_name(name), _risk_of_annotations(annotations or {}), key=_SEVERITY.__getitem__)
