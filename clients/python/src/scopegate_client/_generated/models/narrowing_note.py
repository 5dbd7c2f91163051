from typing import Literal, cast

NarrowingNote = Literal[
    "labels_no_longer_matched", "new_servers_excluded", "new_tools_excluded", "risks_no_longer_matched"
]


def check_narrowing_note(value: str) -> NarrowingNote:
    """A newer service may know more values than these: they come through as they are."""
    return cast(NarrowingNote, value)
