"""Failures of commands: one line and an exit code."""

CANNOT_START = 2
"""The exit code for invalid settings, a port in use, or an unusable database: fix it and start again."""


class CannotStart(Exception):
    """One line that names the problem and the fix; ``code`` becomes the exit code."""

    def __init__(self, message: str, code: int = CANNOT_START) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code
