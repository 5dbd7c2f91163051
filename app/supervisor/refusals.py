"""Why a request to a command is not carried, in plain words that its client may read."""

INTERNAL_ERROR = -32603
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601

ENDED = "The program of this server ended before it answered."
"""Said to those who wait when a program ends."""


class Refused(Exception):
    """Answered as a JSON-RPC error. ``retry_after`` is in seconds."""

    def __init__(
        self, status: int, message: str, *, code: int = INTERNAL_ERROR, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after


def no_such_session() -> Refused:
    """Of another token, ended, or never there: all alike."""
    return Refused(404, "There is no such session. Initialize a new one.", code=INVALID_REQUEST)


def too_many(whose: str, what: str = "sessions with commands") -> Refused:
    """A limit is reached."""
    return Refused(429, f"{whose} has too many {what} open. Close one, or try later.", retry_after=5)


def resting(seconds: float) -> Refused:
    """The program failed again and again."""
    wait = max(1, round(seconds))
    return Refused(
        503,
        f"The program of this server failed several times; it is started again in {wait} s.",
        retry_after=wait,
    )
