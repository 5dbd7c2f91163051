"""What an argument is that was left out."""

from typing import Final, Literal, final


@final
class Unset:
    """Left out, which is not the same as null."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = Unset()

__all__ = ["UNSET", "Unset"]
