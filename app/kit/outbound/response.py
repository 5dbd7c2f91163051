"""The answer to an outbound request."""

from collections.abc import AsyncIterator


class OutboundResponse:
    """One answer: ``status``, ``headers`` as (lower-case name, value) in wire order, and a body to read once."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def header(self, name: bytes) -> bytes | None:
        """The first value of the header with this lower-case name."""
        raise NotImplementedError

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The whole body; ``UpstreamError("too_large")`` past ``max_bytes`` (default: the client's ``body_bytes``)."""
        raise NotImplementedError

    def iter_chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives. A reader that does not read holds the upstream back."""
        raise NotImplementedError

    def close(self) -> None:
        """Done with it: aborts the connection unless the answer is complete. Idempotent."""
        raise NotImplementedError
