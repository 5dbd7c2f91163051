"""Calls that a person has to approve: how their clients are asked to wait, each in its era, and how they wait.

From 2025-11-25 on a client may say that it can lead its user to an address. It is given the approval's; whoever
opens it may not be the one who decides. A modern client brings back what it was given, and its request then waits for
the decision, without a connection to the database, as long as such a request can. Everybody else is told in words.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from mcp_types import URL_ELICITATION_REQUIRED

from app.admission.store import ApprovalNews, ApprovalState, NeededApproval, View
from app.gateway.denials import asked_text, denial_meta, denial_text, denied_request, denied_result, event_of
from app.gateway.pipeline import ApprovalNeeded, ClientLeft, Denied, Flight
from app.gateway.relay import Watch
from app.gateway.sessions import FLEET, SessionSealer
from app.gateway.wire.completions import Completions
from app.gateway.wire.envelope import CAPABILITIES_KEY, Message
from app.gateway.wire.http import Exchange, result_body
from app.gateway.wire.methods import INPUT_METHODS, Asks, asks_of
from app.gateway.wire.refusals import Refused
from app.lib import strict_json
from app.lib.ids import APPROVAL, format_id

WAIT_SECONDS = 25.0
"""For a decision: common clients and proxies give up an answer of which nothing comes after 30."""
MOST_WAITS = 6
"""Of one call: clients give up one that is answered ten times with a question, and its server may ask some too."""
FIRST_LEADING = "2025-11-25"
"""The first version in which a client can be led to an address."""
MAX_STATE = 4096

_WAITING = frozenset({ApprovalState.ASKED, ApprovalState.ASKED_AGAIN, ApprovalState.PENDING})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client brings back that was asked to wait for these approvals. ``waits``: how often it has waited."""

    approvals: frozenset[UUID]
    waits: int
    action: str
    """What its user did when asked: ``accept``, ``decline`` or ``cancel``."""

    @property
    def refusal(self) -> str | None:
        """Why the request is not to run, approved or not: its own user does not want it to."""
        return "approval_declined" if self.action == "decline" else None


@dataclass(frozen=True, slots=True)
class Approvals:
    """Asks clients and has them wait."""

    sealer: SessionSealer
    news: ApprovalNews
    public_url: str
    """Without a trailing slash."""
    completions: Completions = field(default_factory=Completions)

    def link(self, id: UUID) -> str:
        """Where an approval is decided."""
        return f"{self.public_url}/console/approvals/{format_id(APPROVAL, id)}"

    async def resume(self, exchange: Exchange, message: Message, view: View) -> Asked | None:
        """Let a request that comes back wait for its approvals: until they are decided, or it has waited long enough.

        What its client was asked is taken out of it, as the server never sees any of that. Raises ``ClientLeft``.
        """
        asked = self._taken_out(exchange, message, view)
        if asked is not None and asked.action == "accept":
            await self._wait(exchange, asked)
        return asked

    def _taken_out(self, exchange: Exchange, message: Message, view: View) -> Asked | None:
        state = message.params.get("requestState")
        if not message.modern or message.method not in INPUT_METHODS or not isinstance(state, str):
            return None
        opened = None
        if state.isascii():
            purpose = _purpose(exchange, message)
            opened = self.sealer.open(view.token.id, FLEET, state.encode(), purpose, MAX_STATE)
        if opened is None:
            return None
        del message.params["requestState"]
        action = _action(message.params.pop("inputResponses", None))
        waits, *ids = (int(part, 16) for part in opened.decode().split(","))
        return Asked(frozenset(UUID(int=id) for id in ids), waits, action)

    async def _wait(self, exchange: Exchange, asked: Asked) -> None:
        flight = Flight()
        flight.forwarding = True
        try:
            with Watch(exchange, flight, modern=True) as watch:
                watch.streaming = True
                async with asyncio.timeout(WAIT_SECONDS):
                    await self.news.settled(asked.approvals)
        except TimeoutError:
            return
        except asyncio.CancelledError:
            if flight.client_left and flight.task is not None and flight.task.uncancel() == 0:
                raise ClientLeft from None
            raise
        finally:
            flight.forwarding = False

    async def answer(
        self, exchange: Exchange, message: Message, denied: Denied, asked: Asked | None, *, leads: bool
    ) -> None:
        """Say what is needed, or why it is denied. Raises ``Refused``.

        ``leads``: a legacy client said, when it began its session, that it leads its user to addresses.
        """
        if isinstance(denied, ApprovalNeeded) and (asked is None or asked.action == "accept"):
            waited_for = _waited_for(denied)
            if waited_for and not message.modern and leads and (message.version or "") >= FIRST_LEADING:
                raise self._leading(denied, waited_for)
            if (
                waited_for
                and message.modern
                and Asks.URL in asks_of(message.params["_meta"][CAPABILITIES_KEY])
            ):
                result = self._question(exchange, message, denied, waited_for, asked)
                if result is not None:
                    await exchange.answer(200, result_body(message.id, result))
                    return
        if message.method != "tools/call" or "task" in message.params:
            # Who waits for a task takes no result of the tool.
            raise denied_request(denied, self.link, modern=message.modern)
        result = denied_result(denied, self.link, modern=message.modern)
        await exchange.answer(200, result_body(message.id, result))

    def _question(
        self,
        exchange: Exchange,
        message: Message,
        denied: ApprovalNeeded,
        approvals: list[NeededApproval],
        asked: Asked | None,
    ) -> dict[str, Any] | None:
        """What has a modern client ask its user, once for each approval, and come again; ``None``: often enough."""
        before = frozenset() if asked is None else asked.approvals
        questions = {
            format_id(APPROVAL, each.id): {
                "method": "elicitation/create",
                "params": {"mode": "url", "message": _question_text(each, denied), "url": self.link(each.id)},
            }
            for each in approvals
            if each.id not in before
        }
        waits = 0 if asked is None else asked.waits + 1
        if waits >= MOST_WAITS:
            return None
        sealed = self._sealed(exchange, message, denied.view, waits, (each.id for each in approvals))
        result: dict[str, Any] = {
            "resultType": "input_required",
            "requestState": sealed,
            "_meta": denial_meta(denied, self.link),
        }
        if questions:
            result["inputRequests"] = questions
        return result

    def _sealed(
        self, exchange: Exchange, message: Message, view: View, waits: int, ids: Iterable[UUID]
    ) -> str:
        text = ",".join([f"{waits:x}", *(id.hex for id in ids)])
        return self.sealer.seal(view.token.id, FLEET, text.encode(), _purpose(exchange, message)).decode()

    def _leading(self, denied: ApprovalNeeded, approvals: list[NeededApproval]) -> Refused:
        elicitations = [
            {
                "mode": "url",
                "elicitationId": format_id(APPROVAL, each.id),
                "url": self.link(each.id),
                "message": _question_text(each, denied),
            }
            for each in approvals
        ]
        data = {"elicitations": elicitations, **denial_meta(denied, self.link)}
        return Refused(200, URL_ELICITATION_REQUIRED, denial_text(denied, self.link), data=data)


def _waited_for(denied: ApprovalNeeded) -> list[NeededApproval]:
    """The approvals that may come yet; none when one of those that are needed will not."""
    if any(each.state is ApprovalState.DENIED for each in denied.approvals):
        return []
    return [each for each in denied.approvals if each.state in _WAITING]


def _question_text(approval: NeededApproval, denied: Denied) -> str:
    tool = denied.decision.tool
    what = "A request" if tool is None else f'A call of "{tool.name}"'
    return f"{what} needs an approval. {asked_text(approval)} (Audit event {event_of(denied)}.)"


def _action(responses: Any) -> str:
    """What the user did, at its worst. Nothing is said where nothing was asked: the client has come to wait."""
    given = responses.values() if isinstance(responses, dict) else ()
    actions = [each.get("action") for each in given if isinstance(each, dict)]
    return next((action for action in ("decline", "cancel") if action in actions), "accept")


def _purpose(exchange: Exchange, message: Message) -> bytes:
    """What a sealed state is for; never what a server's own is for."""
    name = message.params.get("uri" if message.method == "resources/read" else "name")
    what = name if isinstance(name, str) else None
    return strict_json.dumps(["approval", exchange.path.rstrip("/"), message.method, what])
