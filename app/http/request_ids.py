"""The id of a request: ours, or one that its caller gave it, which never looks like ours."""

import re

from app.lib.ids import new_id

MADE_ID = "req_"
"""Before the hexadecimal id of those that we make."""
_TAKEN = re.compile(rb"(?!(?i:req_))[A-Za-z0-9._:-]{1,128}")


def taken_id(header: bytes | None) -> str | None:
    """The caller's ``X-Request-ID``; ``None`` where there is none, it is not acceptable, or it looks like ours."""
    if header is None or not _TAKEN.fullmatch(header):
        return None
    return header.decode("ascii")


def made_id() -> str:
    """A new id of ours."""
    return f"{MADE_ID}{new_id().hex}"
