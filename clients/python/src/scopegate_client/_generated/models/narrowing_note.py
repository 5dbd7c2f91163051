from typing import Literal, cast

NarrowingNote = Literal[
    "labels_no_longer_read", "new_servers_left_out", "new_tools_left_out", "risks_no_longer_read"
]


def check_narrowing_note(value: str) -> NarrowingNote:
    """A newer service may know more values than these: they come through as they are."""
    return cast(NarrowingNote, value)
