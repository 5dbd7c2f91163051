"""Requests of a legacy server to its client, and the client's responses to them.

The client sees an id of ours, which proves to any worker that this server asked it in this session of this token. The
worker that passed the request on takes one response to it, as long as the call that it came with runs.
"""

from collections import OrderedDict
from uuid import UUID

from app.gateway.sessions import SessionSealer
from app.gateway.wire.refusals import bad_upstream
from app.lib import strict_json

MAX_KEPT = 10_000
LONGEST_ID = 256

_NO_SESSION = b""


class ServerRequests:
    """The requests that this worker passed on: true while a response is waited for."""

    def __init__(self, sealer: SessionSealer) -> None:
        self._sealer = sealer
        self._waiting: OrderedDict[str, bool] = OrderedDict()

    def pass_on(self, token_id: UUID, server_id: UUID, session: bytes | None, id: str | int) -> str:
        """The id under which the client sees a request."""
        shown = self.shown(token_id, server_id, session, id)
        self._note(shown, self._waiting.get(shown, True))
        return shown

    def shown(self, token_id: UUID, server_id: UUID, session: bytes | None, id: str | int) -> str:
        """The same, without waiting for a response. Raises ``Refused`` for an id that cannot be written."""
        try:
            text = strict_json.dumps(id)
        except ValueError:
            raise bad_upstream("The server behind the gateway asks under an id that is none.") from None
        signature = self._sealer.sign(token_id.bytes, server_id.bytes, session or _NO_SESSION, text)
        return f"{signature.decode()}.{text.decode()}"

    def take(self, token_id: UUID, server_id: UUID, session: bytes | None, shown: object) -> str | int | None:
        """The server's own id of a request that waits for its response, or ``None``; it waits no longer."""
        if not isinstance(shown, str):
            return None
        signature, _, text = shown.partition(".")
        parts = (token_id.bytes, server_id.bytes, session or _NO_SESSION, text.encode())
        if not self._sealer.has_signed(signature.encode(), *parts):
            return None
        if not self._waiting.get(shown, True):
            return None
        self._note(shown, False)
        id = strict_json.loads(text.encode())
        return id if isinstance(id, (str, int)) else None

    def close(self, shown: str) -> None:
        """Nobody waits for a response any more."""
        if shown in self._waiting:
            self._waiting[shown] = False

    def _note(self, shown: str, waits: bool) -> None:
        self._waiting[shown] = waits
        self._waiting.move_to_end(shown)
        if len(self._waiting) > MAX_KEPT:
            self._waiting.popitem(last=False)
