"""Calls that need an approval: what an approval covers, what clients receive, and how they wait.

An approver sees a call's name and arguments. The approval covers everything that is forwarded, except tracing and
progress fields. Nothing else that the client chooses freely goes to the server.

Since 2025-11-25, a client may support URL elicitation. It gets the URL of the approval; its user is not necessarily an
approver. A modern client repeats its request with the state that it received. That request then waits for the decision
without a database connection. All other clients get a text.
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from mcp_types import LOG_LEVEL_META_KEY, URL_ELICITATION_REQUIRED

from app.admission.store import ApprovalState, NeededApproval, Store, View
from app.gateway.pipeline import ApprovalNeeded, ClientLeft, Denied
from app.gateway.results import Round
from app.gateway.sealed_ids import FLEET, SessionSealer
from app.gateway.wire import messages
from app.gateway.wire.exchange import ClientWatch, ClientWork, Exchange, result_body
from app.gateway.wire.messages import ClientFeatures, Message
from app.gateway.wire.refusals import Refused, invalid_params
from app.lib import strict_json
from app.lib.ids import APPROVAL, EVENT, format_id
from app.lib.sse import encode_event
from app.outbound.mcp.connection import client_info

EVENT_KEY = "io.scopegate/event"
APPROVALS_KEY = "io.scopegate/approvals"
Link = Callable[[UUID], str]
"""Makes the URL on which an approval is decided. It contains nothing but the id."""
_REASON_TEXTS = {
    "policy_denied": "Policy does not allow this call.",
    "policy_not_permitted": "No policy permits this call.",
    "policy_error": "A policy could not be evaluated for this call, so it is not allowed.",
    "quota_exceeded": "The quota for such calls is exhausted. Policy does not allow another call now.",
    "too_many_approvals": "There are too many pending approvals. Wait until some of them are decided.",
    "not_covered_by_approval": "This call needs an approval, which covers only its name and arguments. This request "
    "contains more, or belongs to a call whose approval is already used. Start the call again, without other members "
    "in params.",
    "approval_declined": "The user declined the approval of this call, so it did not run.",
}
_STATE_NAMES = {ApprovalState.APPROVED: "approved", ApprovalState.DENIED: "denied"}


def denial_text(denied: Denied, link: Link) -> str:
    """Say what happened, why, and what to do."""
    decision = denied.decision
    if isinstance(denied, ApprovalNeeded):
        lines = _approvals_text(denied, link)
    else:
        usual = f"Policy does not allow this call ({decision.reason_code})."
        lines = [_REASON_TEXTS.get(decision.reason_code, usual), *decision.reasons]
    return "\n".join([*lines, f"The audit event {denial_event(denied)} explains it."])


def denial_meta(denied: Denied, link: Link) -> dict[str, Any]:
    """Return the machine-readable part of a denial."""
    meta: dict[str, Any] = {EVENT_KEY: denial_event(denied)}
    if isinstance(denied, ApprovalNeeded):
        meta[APPROVALS_KEY] = [
            {
                "id": format_id(APPROVAL, each.id),
                "url": link(each.id),
                "group": each.group,
                "state": _STATE_NAMES.get(each.state, "pending"),
            }
            for each in denied.approvals
        ]
    return meta


def denial_event(denied: Denied) -> str:
    """Return the id of the audit event as in the API."""
    return format_id(EVENT, denied.event_id)


def approver_text(approval: NeededApproval) -> str:
    """Say in one line who must approve a call and why."""
    because = f" {' '.join(approval.reasons)}" if approval.reasons else ""
    return f'A member of the group "{approval.group}" must approve it.{because}'


def _approvals_text(denied: ApprovalNeeded, link: Link) -> list[str]:
    refused = [each for each in denied.approvals if each.state is ApprovalState.DENIED]
    if refused:
        until = datetime.fromtimestamp(min(each.expires_at for each in refused), UTC)
        return [
            "This call was not approved, and did not run.",
            *(_refused_text(each) for each in refused),
            f"You cannot request approval of the same call again before {until:%Y-%m-%d %H:%M:%S} UTC.",
        ]
    return [
        "This call needs an approval, and did not run.",
        *(_needed_text(each, link) for each in denied.approvals),
        "Repeat the same call when it is approved.",
    ]


def _refused_text(approval: NeededApproval) -> str:
    because = f": {approval.decision_reason}" if approval.decision_reason else "."
    return f'A member of the group "{approval.group}" denied it{because}'


def _needed_text(approval: NeededApproval, link: Link) -> str:
    if approval.state is ApprovalState.APPROVED:
        return f'The group "{approval.group}" has approved it.'
    expired = "The last approval has expired. " if approval.state is ApprovalState.ASKED_AGAIN else ""
    return f"{expired}{approver_text(approval)} They decide at {link(approval.id)}"


class Completions:
    """Notifications of decided approvals to the open streams of this worker, by token."""

    def __init__(self) -> None:
        self._streams: defaultdict[UUID, set[Exchange]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether a stream is subscribed."""
        return bool(self._streams)

    @contextmanager
    def subscribe(self, exchange: Exchange, token_id: UUID, *, supports_url: bool) -> Iterator[None]:
        """Send notifications of the token's approvals on this stream, if its client supports URL elicitation."""
        if not supports_url:
            yield
            return
        self._streams[token_id].add(exchange)
        try:
            yield
        finally:
            self._streams[token_id].discard(exchange)
            if not self._streams[token_id]:
                del self._streams[token_id]

    def announce(self, approval_id: UUID, token_id: UUID) -> None:
        """Notify the token's streams that an approval was decided, either way."""
        message: strict_json.JsonObject = {
            "jsonrpc": "2.0",
            "method": "notifications/elicitation/complete",
            "params": {"elicitationId": format_id(APPROVAL, approval_id)},
        }
        event = encode_event(strict_json.dumps(message))
        for exchange in self._streams.get(token_id, ()):
            if exchange.started and not exchange.complete:
                task = asyncio.get_running_loop().create_task(_send_event(exchange, event))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)


async def _send_event(exchange: Exchange, event: bytes) -> None:
    # The stream may end, or its client disconnect, before this task runs.
    with suppress(RuntimeError, OSError):
        await exchange.stream(event)


WAIT_SECONDS = 25.0
"""How long a request waits for a decision: common clients and proxies time out after 30 s without data."""
MAX_WAITS = 6
"""Per call. Clients abort a call after ten input requests, and its server may send some too."""
URL_ELICITATION_SINCE = "2025-11-25"
"""The first protocol version with URL elicitation."""
MAX_STATE = 4096
_WAITING = frozenset({ApprovalState.ASKED, ApprovalState.ASKED_AGAIN, ApprovalState.PENDING})


@dataclass(frozen=True, slots=True)
class ResumedRequest:
    """The state of a request that a client repeats to wait for approvals. ``waits``: how often it has waited."""

    approvals: frozenset[UUID]
    waits: int
    action: str
    """The user's response: ``accept``, ``decline`` or ``cancel``."""

    @property
    def refusal(self) -> str | None:
        """The reason code when the user declined; then the call must not run, even if approved."""
        return "approval_declined" if self.action == "decline" else None


@dataclass(frozen=True, slots=True)
class Approvals:
    """Answers for calls that need an approval, and the wait for a decision."""

    sealer: SessionSealer
    store: Store
    public_url: str
    """Without a trailing slash."""
    completions: Completions = field(default_factory=Completions)

    def link(self, id: UUID) -> str:
        """Return the URL on which an approval is decided."""
        return f"{self.public_url}/console/approvals/{format_id(APPROVAL, id)}"

    async def resume(self, exchange: Exchange, message: Message, view: View) -> ResumedRequest | None:
        """Let a repeated request wait for its approvals, at most ``WAIT_SECONDS``.

        Removes the gateway's own state and input responses from the request, because the server must not see them.
        Raises ``ClientLeft``.
        """
        resumed = self._take_state(exchange, message, view)
        if resumed is not None and resumed.action == "accept":
            await self._wait(exchange, resumed)
        return resumed

    def _take_state(self, exchange: Exchange, message: Message, view: View) -> ResumedRequest | None:
        state = message.params.get("requestState")
        if not message.modern or message.method not in messages.INPUT_METHODS or not isinstance(state, str):
            return None
        opened = None
        if state.isascii():
            purpose = _purpose(exchange, message)
            opened = self.sealer.open(view.token.id, FLEET, state.encode(), purpose, MAX_STATE)
        if opened is None:
            return None
        del message.params["requestState"]
        responses = message.params.pop("inputResponses", None)
        given = responses.values() if isinstance(responses, dict) else ()
        actions = [each.get("action") for each in given if isinstance(each, dict)]
        # The most negative response of the user counts. Without responses, the client only waits.
        action = next((action for action in ("decline", "cancel") if action in actions), "accept")
        waits, *ids = (int(part, 16) for part in opened.decode().split(","))
        return ResumedRequest(frozenset(UUID(int=id) for id in ids), waits, action)

    async def _wait(self, exchange: Exchange, resumed: ResumedRequest) -> None:
        work = ClientWork()
        work.is_running = True
        try:
            with ClientWatch(exchange, work, modern=True) as watch:
                watch.streaming = True
                async with asyncio.timeout(WAIT_SECONDS):
                    await self.store.wait_for_approvals(resumed.approvals)
        except TimeoutError:
            return
        except asyncio.CancelledError:
            if work.client_left and work.task is not None and work.task.uncancel() == 0:
                raise ClientLeft from None
            raise
        finally:
            work.is_running = False

    async def answer(
        self,
        exchange: Exchange,
        message: Message,
        denied: Denied,
        resumed: ResumedRequest | None,
        *,
        supports_url: bool,
    ) -> None:
        """Answer a denied call, or one that needs approvals. Raises ``Refused``.

        ``supports_url``: a legacy client declared URL elicitation when it initialized its session.
        """
        if isinstance(denied, ApprovalNeeded) and (resumed is None or resumed.action == "accept"):
            pending = _pending_approvals(denied)
            if (
                pending
                and not message.modern
                and supports_url
                and (message.version or "") >= URL_ELICITATION_SINCE
            ):
                raise self._elicitation_error(denied, pending)
            if (
                pending
                and message.modern
                and ClientFeatures.URL
                in messages.client_features(message.params["_meta"][messages.CAPABILITIES_KEY])
            ):
                result = self._input_required(exchange, message, denied, pending, resumed)
                if result is not None:
                    await exchange.answer(200, result_body(message.id, result))
                    return
        text, meta = denial_text(denied, self.link), denial_meta(denied, self.link)
        if message.method != "tools/call" or "task" in message.params:
            # A client that asked for a task accepts no tool result.
            refused = invalid_params(text, message.modern)
            refused.data = meta
            raise refused
        # A tool result, so that the model can react.
        result = {"content": [{"type": "text", "text": text}], "isError": True, "_meta": meta}
        if message.modern:
            result["resultType"] = "complete"
        await exchange.answer(200, result_body(message.id, result))

    def _input_required(
        self,
        exchange: Exchange,
        message: Message,
        denied: ApprovalNeeded,
        approvals: list[NeededApproval],
        resumed: ResumedRequest | None,
    ) -> dict[str, Any] | None:
        """Return the input requests for a modern client, one for each new approval; ``None`` after ``MAX_WAITS``."""
        before = frozenset() if resumed is None else resumed.approvals
        requests = {
            format_id(APPROVAL, each.id): {
                "method": "elicitation/create",
                "params": {
                    "mode": "url",
                    "message": _elicitation_text(each, denied),
                    "url": self.link(each.id),
                },
            }
            for each in approvals
            if each.id not in before
        }
        waits = 0 if resumed is None else resumed.waits + 1
        if waits >= MAX_WAITS:
            return None
        sealed = self._seal(exchange, message, denied.view, waits, (each.id for each in approvals))
        result: dict[str, Any] = {
            "resultType": "input_required",
            "requestState": sealed,
            "_meta": denial_meta(denied, self.link),
        }
        if requests:
            result["inputRequests"] = requests
        return result

    def _seal(self, exchange: Exchange, message: Message, view: View, waits: int, ids: Iterable[UUID]) -> str:
        text = ",".join([f"{waits:x}", *(id.hex for id in ids)])
        return self.sealer.seal(view.token.id, FLEET, text.encode(), _purpose(exchange, message)).decode()

    def _elicitation_error(self, denied: ApprovalNeeded, approvals: list[NeededApproval]) -> Refused:
        elicitations = [
            {
                "mode": "url",
                "elicitationId": format_id(APPROVAL, each.id),
                "url": self.link(each.id),
                "message": _elicitation_text(each, denied),
            }
            for each in approvals
        ]
        data = {"elicitations": elicitations, **denial_meta(denied, self.link)}
        return Refused(200, URL_ELICITATION_REQUIRED, denial_text(denied, self.link), data=data)


def _pending_approvals(denied: ApprovalNeeded) -> list[NeededApproval]:
    """Return the approvals that may still be granted; none when one of them was denied."""
    if any(each.state is ApprovalState.DENIED for each in denied.approvals):
        return []
    return [each for each in denied.approvals if each.state in _WAITING]


def _elicitation_text(approval: NeededApproval, denied: Denied) -> str:
    tool = denied.decision.tool
    what = "A request" if tool is None else f'A call of "{tool.name}"'
    return f"{what} needs an approval. {approver_text(approval)} (Audit event {denial_event(denied)}.)"


def _purpose(exchange: Exchange, message: Message) -> bytes:
    """Return the purpose that a state is sealed with. It differs from that of a server's own state."""
    name = message.params.get("uri" if message.method == "resources/read" else "name")
    what = name if isinstance(name, str) else None
    return strict_json.dumps(["approval", exchange.path.rstrip("/"), message.method, what])


_MEMBERS = {
    "tools/call": frozenset({"name", "arguments", "_meta", "task"}),
    "prompts/get": frozenset({"name", "arguments", "_meta"}),
    "resources/read": frozenset({"uri", "_meta"}),
}
_ROUNDS = frozenset({"requestState", "inputResponses"})
_ENVELOPE = frozenset({"jsonrpc", "id", "method", "params"})
_LABEL = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_TRACE_PARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TRACE_STATE = re.compile(r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x21-\x2b\x2d-\x3c\x3e-\x7e]{1,256}")
_MAX_TRACE_STATE = 512
LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")


def exceeds_approval(message: Message, before: Round) -> bool:
    """Whether a request contains something that its approval would not cover.

    The next round of an approved call, proven by its state, may contain input responses. A state from elsewhere is
    refused later, with its own error.
    """
    known = _MEMBERS.get(message.method)
    if known is None:
        return False
    if before.continues is not None or before.foreign:
        known = known | _ROUNDS
    params, task = message.params, message.params.get("task", {})
    return not (
        params.keys() <= known
        and message.body.keys() <= _ENVELOPE
        and _is_label(message.id)
        and isinstance(task, dict)
        and all(name == "ttl" and type(value) is int for name, value in task.items())
    )


def covered_meta(meta: Any) -> dict[str, Any]:
    """Return the fields of ``_meta`` that an approved call may forward."""
    if not isinstance(meta, dict):
        return {}
    checks = {"progressToken": _is_label, "traceparent": is_trace_parent, "tracestate": is_trace_state}
    return {name: meta[name] for name, check in checks.items() if name in meta and check(meta[name])}


def covered_body(message: Message) -> dict[str, Any]:
    """Return the message to forward for an approved call."""
    meta = message.params.get("_meta")
    kept = covered_meta(meta)
    if message.modern and isinstance(meta, dict):
        declared = messages.client_capabilities(meta[messages.CAPABILITIES_KEY], modern=True)
        kept |= {
            messages.VERSION_KEY: meta[messages.VERSION_KEY],
            messages.CAPABILITIES_KEY: messages.keep_flags(declared),
            messages.CLIENT_INFO_KEY: client_info(),
        }
        if meta.get(LOG_LEVEL_META_KEY) in LOG_LEVELS:
            kept[LOG_LEVEL_META_KEY] = meta[LOG_LEVEL_META_KEY]
    params = {name: value for name, value in message.params.items() if name != "_meta"}
    return {**message.body, "params": {**params, "_meta": kept} if kept else params}


def is_trace_parent(value: object) -> bool:
    """Whether a value is a ``traceparent`` of W3C Trace Context."""
    return isinstance(value, str) and _TRACE_PARENT.fullmatch(value) is not None


def is_trace_state(value: object) -> bool:
    """Whether a value is a ``tracestate`` of W3C Trace Context."""
    return (
        isinstance(value, str)
        and len(value) <= _MAX_TRACE_STATE
        and all(_TRACE_STATE.fullmatch(entry.strip(" \t")) for entry in value.split(","))
    )


def _is_label(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and _LABEL.fullmatch(value) is not None)
