"""A string that does not show itself."""

from typing import Final, NoReturn

from scopegate_client._generated.types import Unset
from scopegate_client.errors import SecretNotShown

_HIDDEN: Final = "**********"


class Secret:
    """A secret, as of a new token. Printing, logging and formatting it shows asterisks; ``reveal()`` gives it away.

    Scopegate shows a secret once. Where an answer is repeated (the answer to a create request got lost, and the
    request was sent again) the secret is not in it, nor where its recipient is to pick it up: then ``bool(secret)`` is
    false and ``reveal()`` raises ``SecretNotShown``.
    """

    __slots__ = ("_value",)
    _value: str | None

    def __init__(self, value: "Secret | str | None") -> None:
        plain = value._value if isinstance(value, Secret) else value  # noqa: SLF001 - its own kind
        if plain is not None and not isinstance(plain, str):
            raise TypeError(f"A secret is a string, not {type(plain).__name__}.")
        self._value = plain

    def reveal(self) -> str:
        """The secret itself, in the clear."""
        if self._value is None:
            raise SecretNotShown(
                "This answer has no secret. It was shown once, in an answer that got lost: make another (rotate the "
                "token, or create another credential). Or its recipient picks it up, and nobody else sees it."
            )
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"Secret({_HIDDEN!r})" if self else "Secret(None)"

    def __str__(self) -> str:
        return _HIDDEN if self else ""

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret is not pickled: hand on what reveal() gives, if it must be.")


def optional_secret(value: "Secret | str | Unset | None") -> "Secret | Unset":
    """A secret, unless it was left out."""
    return value if isinstance(value, Unset) else Secret(value)
