"""What commands may use. Sizes in bytes, times in seconds.

Why a request to a command is not carried, in plain words that its client may read.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one host."""

    processes: int = 64
    """At once. A server may have half of them, an identity a quarter, a token an eighth."""
    starts_a_minute: int = 60
    """By one identity."""

    start: float = 30.0
    """From starting a program to its first answer."""
    idle: float = 600.0
    """Without a request or a stream."""
    idle_sync: float = 5.0
    grace: float = 2.0
    """From asking a program to end until it is killed."""
    lease: float = 10.0
    """After which a worker that says nothing holds nothing any more."""
    cancelled: float = 5.0
    """How long a program may take to answer a request that was cancelled."""
    evict: float = 30.0
    """How long a session must have been idle to give way to another of the same token."""

    line: int = 16 * 1024 * 1024
    """One message of a program."""
    unread_output: int = 1024 * 1024
    """Of a program's output that nobody has fetched, at which it has to wait."""
    unread_input: int = 4 * 1024 * 1024
    """That a program has not read, at which it is ended."""
    stray_lines: int = 1000
    """Lines that are not valid messages. More of them within ``stray_lines_window_s`` seconds end the program."""
    stray_lines_window_s: float = 10.0

    memory: int = 2 * 1024 * 1024 * 1024
    """Of data, of one process."""
    file_size: int = 1024 * 1024 * 1024
    files: int = 1024
    children: int = 1024
    """Processes and threads of one server, where it has a user of its own."""

    def of_server(self) -> int:
        return max(1, self.processes // 2)

    def of_identity(self) -> int:
        return max(1, self.processes // 4)

    def of_token(self) -> int:
        return max(1, self.processes // 8)


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
