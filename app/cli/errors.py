"""How a command says that it cannot go on: one line, and an exit code."""

CANNOT_START = 2
"""The exit code for bad settings, a port in use, a database that cannot be used: mend it and start again."""


class CannotStart(Exception):
    """One line that says what is wrong and how to mend it; ``code`` becomes the exit code."""

    def __init__(self, message: str, code: int = CANNOT_START) -> None:
        super().__init__(" ".join(message.split()))
        self.code = code
