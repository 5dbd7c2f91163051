"""What is wrong with an event token, in the terms that transmitters are answered in."""

from typing import Literal

ErrorCode = Literal[
    "invalid_request", "invalid_key", "invalid_issuer", "invalid_audience", "authentication_failed",
    "access_denied", "invalid_state",
]  # fmt: skip
"""Of RFC 8935 section 2.4, and SSF 1.0 (``invalid_state``)."""


class Unacceptable(Exception):
    """An event token that is not taken, and is not remembered. ``description`` quotes nothing of it."""

    def __init__(self, code: ErrorCode, description: str) -> None:
        super().__init__(code)
        self.code: ErrorCode = code
        self.description = description
