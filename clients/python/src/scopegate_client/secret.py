"""A string that hides itself when it is printed."""

from typing import Final, NoReturn

from scopegate_client._generated.types import Unset
from scopegate_client.errors import SecretNotShown

_HIDDEN: Final = "**********"


class Secret:
    """A secret, for example of a new token. Printed, logged or formatted it is asterisks; ``reveal()`` returns it.

    Scopegate shows a secret once. A repeated response (to a request that was repeated because its response was lost)
    contains neither the secret nor its pickup link: then ``bool(secret)`` is false and ``reveal()`` raises
    ``SecretNotShown``.
    """

    __slots__ = ("_value",)
    _value: str | None

    def __init__(self, value: "Secret | str | None") -> None:
        plain = value._value if isinstance(value, Secret) else value  # noqa: SLF001 - its own kind
        if plain is not None and not isinstance(plain, str):
            raise TypeError(f"A secret is a string, not {type(plain).__name__}.")
        self._value = plain

    def reveal(self) -> str:
        """Return the secret in the clear."""
        if self._value is None:
            raise SecretNotShown(
                "This response has no secret. It was shown once, in a response that was lost: create another (rotate "
                "the token, or create another credential). If its recipient picks it up, it is never shown here."
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
        raise TypeError("A secret cannot be pickled: pickle the result of reveal() if you must.")


def optional_secret(value: "Secret | str | Unset | None") -> "Secret | Unset":
    """A secret, unless it was omitted."""
    return value if isinstance(value, Unset) else Secret(value)
