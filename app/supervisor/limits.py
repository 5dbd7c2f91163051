"""Limits of commands, with sizes in bytes and times in seconds, and errors that are returned to clients."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one host."""

    processes: int = 64
    """The maximum of concurrent sessions. A server may have half of them, an identity a quarter, a token an eighth."""
    starts_a_minute: int = 60
    """The maximum of starts by one identity."""

    start: float = 30.0
    """The time from starting a program to its first response."""
    idle: float = 600.0
    """The time without a request or a stream."""
    idle_sync: float = 5.0
    grace: float = 2.0
    """The time from asking a program to end until it is killed."""
    lease: float = 10.0
    """The time after which a silent worker has no sessions any more."""
    cancelled: float = 5.0
    """How long a program may take to answer a cancelled request."""
    evict: float = 30.0
    """How long a session must be idle to be replaced by another of the same token."""

    line: int = 16 * 1024 * 1024
    """The size of a program's message."""
    unread_output: int = 1024 * 1024
    """The size of pending output at which a program is paused."""
    unread_input: int = 4 * 1024 * 1024
    """The size of unread input at which a program is ended."""
    stray_lines: int = 1000
    """The number of invalid lines within ``stray_lines_window_s`` seconds that ends the program."""
    stray_lines_window_s: float = 10.0

    memory: int = 2 * 1024 * 1024 * 1024
    """The data size of one process."""
    file_size: int = 1024 * 1024 * 1024
    files: int = 1024
    children: int = 1024
    """Processes and threads of one server with a user of its own."""

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
"""The error for requests that wait when a program ends."""


class Refused(Exception):
    """A refused request; becomes a JSON-RPC error. ``retry_after`` is in seconds."""

    def __init__(
        self, status: int, message: str, *, code: int = INTERNAL_ERROR, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after


def no_such_session() -> Refused:
    """An unknown session: of another token, ended, or nonexistent."""
    return Refused(404, "The session does not exist. Initialize a new one.", code=INVALID_REQUEST)


def too_many(whose: str, what: str = "sessions with commands") -> Refused:
    """A limit is exceeded."""
    return Refused(429, f"{whose} has too many {what} open. Close one, or try later.", retry_after=5)


def too_many_failures(seconds: float) -> Refused:
    """The program failed repeatedly."""
    wait = max(1, round(seconds))
    return Refused(
        503,
        f"The program of this server failed several times; it is started again in {wait} s.",
        retry_after=wait,
    )
