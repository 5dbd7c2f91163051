"""Failures of commands: one sentence, and an exit code for scripts."""

from enum import IntEnum

from scopegate_client.errors import (
    ApiError,
    ConfigurationError,
    ConnectionFailed,
    InvalidArgument,
    ScopegateError,
    SignInFailed,
)


class ExitCode(IntEnum):
    """The exit codes, which are documented in the README and never change their meaning."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAUTHENTICATED = 4
    FORBIDDEN = 5
    CONFLICT = 6
    UNAVAILABLE = 7
    INTERRUPTED = 130
    BROKEN_PIPE = 141


class Failed(Exception):
    """The command ends with this sentence on the error output."""

    def __init__(self, sentence: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.code = code


_BY_STATUS = {
    401: ExitCode.UNAUTHENTICATED,
    403: ExitCode.FORBIDDEN,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    412: ExitCode.CONFLICT,
    428: ExitCode.CONFLICT,
    429: ExitCode.UNAVAILABLE,
    502: ExitCode.UNAVAILABLE,
    503: ExitCode.UNAVAILABLE,
    504: ExitCode.UNAVAILABLE,
}


def usage(sentence: str) -> Failed:
    """An invalid use of the command."""
    return Failed(sentence, ExitCode.USAGE)


def _sentence(error: ApiError) -> str:
    """The message of the service, or the errors of the invalid fields."""
    fields = [f"{field.pointer.lstrip('/?') or 'the body'}: {field.detail}" for field in error.errors]
    said = " ".join(fields) or error.detail
    request = f", {error.request_id}" if error.request_id else ""
    return f"{said.rstrip()} ({error.status} {error.code}{request})"


def failure_of(error: Exception) -> Failed | None:
    """The failure that an error causes; None for an unexpected error."""
    if isinstance(error, Failed):
        return error
    if isinstance(error, ApiError):
        return Failed(_sentence(error), _BY_STATUS.get(error.status, ExitCode.FAILED))
    if isinstance(error, SignInFailed):
        return Failed(str(error), ExitCode.UNAUTHENTICATED)
    if isinstance(error, ConnectionFailed):
        return Failed(str(error), ExitCode.UNAVAILABLE)
    if isinstance(error, ConfigurationError | InvalidArgument):
        return Failed(str(error), ExitCode.USAGE)
    if isinstance(error, ScopegateError):
        return Failed(str(error))
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return Failed(f"{where}{error.strerror or error}.")
    return None
