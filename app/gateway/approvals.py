"""Calls that a person has to approve: what an approval covers, how clients are asked to wait, and how they wait.

An approval covers every byte that is forwarded, except what only traces a call or reports its progress. Those who
decide see a call's name and arguments. Of a call that needs an approval, nothing else that its client could choose
freely goes to the server.

From 2025-11-25 on a client may say that it can lead its user to an address. It is given the approval's address; the
person who opens it may not be the one who decides. A modern client brings back what it was given, and its request then
waits for the decision, without a connection to the database, as long as such a request can. All others are told in
words.
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

from app.admission.store import ApprovalNews, ApprovalState, NeededApproval, View
from app.gateway.pipeline import ApprovalNeeded, ClientLeft, ClientWork, Denied
from app.gateway.relay import Watch
from app.gateway.results import Round
from app.gateway.sealed_ids import FLEET, SessionSealer
from app.gateway.wire.exchange import Exchange, result_body
from app.gateway.wire.messages import (
    CAPABILITIES_KEY,
    CLIENT_INFO_KEY,
    INPUT_METHODS,
    VERSION_KEY,
    ClientFeatures,
    Message,
    client_capabilities,
    client_features,
    keep_flags,
)
from app.gateway.wire.refusals import Refused, invalid_params
from app.lib import strict_json
from app.lib.ids import APPROVAL, EVENT, format_id
from app.lib.sse import encode_event
from app.outbound.mcp.connection import client_info

EVENT_KEY = "io.scopegate/event"
APPROVALS_KEY = "io.scopegate/approvals"
Link = Callable[[UUID], str]
"""Where an approval is decided: an address that tells nothing but its id."""
_REASON_TEXTS = {
    "policy_denied": "Policy does not allow this call.",
    "policy_not_permitted": "No policy permits this call.",
    "policy_error": "A policy could not be evaluated for this call, so it is not allowed.",
    "quota_exceeded": "A quota of such calls is used up for now. Policy does not allow another.",
    "too_many_approvals": "So many approvals wait for a decision that no more are asked for: wait for some of them.",
    "not_covered_by_approval": "This call needs an approval, which covers its name and arguments only. This request "
    "carries more, or belongs to a call whose approval is used up. Begin the call again, without further members of "
    "params.",
    "approval_declined": "Its user declined to have this call approved, so it did not run.",
}
_STATE_NAMES = {ApprovalState.APPROVED: "approved", ApprovalState.DENIED: "denied"}


def denial_text(denied: Denied, link: Link) -> str:
    """What happened, why, and what can be done about it."""
    decision = denied.decision
    if isinstance(denied, ApprovalNeeded):
        lines = _approvals_text(denied, link)
    else:
        usual = f"Policy does not allow this call ({decision.reason_code})."
        lines = [_REASON_TEXTS.get(decision.reason_code, usual), *decision.reasons]
    return "\n".join([*lines, f"The audit event {denial_event(denied)} explains it."])


def denial_result(denied: Denied, link: Link, *, modern: bool) -> dict[str, Any]:
    """The same as a tool's result, so that the model can react."""
    result: dict[str, Any] = {
        "content": [{"type": "text", "text": denial_text(denied, link)}],
        "isError": True,
        "_meta": denial_meta(denied, link),
    }
    if modern:
        result["resultType"] = "complete"
    return result


def denial_error(denied: Denied, link: Link, *, modern: bool) -> Refused:
    """The same as an error, where there is no result that could say it."""
    refused = invalid_params(denial_text(denied, link), modern)
    refused.data = denial_meta(denied, link)
    return refused


def denial_meta(denied: Denied, link: Link) -> dict[str, Any]:
    """The same for programs."""
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
    """The id of the event, as the API knows it."""
    return format_id(EVENT, denied.event_id)


def approver_text(approval: NeededApproval) -> str:
    """Who has to approve it and why, as one line."""
    because = f" {' '.join(approval.reasons)}" if approval.reasons else ""
    return f'Somebody of the group "{approval.group}" has to approve it.{because}'


def _approvals_text(denied: ApprovalNeeded, link: Link) -> list[str]:
    refused = [each for each in denied.approvals if each.state is ApprovalState.DENIED]
    if refused:
        until = datetime.fromtimestamp(min(each.expires_at for each in refused), UTC)
        return [
            "This call was not approved, and did not run.",
            *(_refused_text(each) for each in refused),
            f"The same call is not asked about again before {until:%Y-%m-%d %H:%M:%S} UTC.",
        ]
    return [
        "This call needs an approval, and did not run.",
        *(_needed_text(each, link) for each in denied.approvals),
        "Repeat the very same call when it is approved.",
    ]


def _refused_text(approval: NeededApproval) -> str:
    because = f": {approval.decision_reason}" if approval.decision_reason else "."
    return f'Somebody of the group "{approval.group}" said no{because}'


def _needed_text(approval: NeededApproval, link: Link) -> str:
    if approval.state is ApprovalState.APPROVED:
        return f'The group "{approval.group}" has approved it.'
    again = "The last approval ran out. " if approval.state is ApprovalState.ASKED_AGAIN else ""
    return f"{again}{approver_text(approval)} They decide at {link(approval.id)}"


class Completions:
    """The streams of this worker, by token."""

    def __init__(self) -> None:
        self._streams: defaultdict[UUID, set[Exchange]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._streams)

    @contextmanager
    def subscribe(self, exchange: Exchange, token_id: UUID, *, supports_url: bool) -> Iterator[None]:
        """Tell of the token's approvals on this stream, where its client said that it leads its user."""
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
        """Tell whoever called with the token that the approval was decided, one way or the other."""
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
    # The stream may end, or its client leave, before its turn comes.
    with suppress(RuntimeError, OSError):
        await exchange.stream(event)


WAIT_SECONDS = 25.0
"""For a decision: common clients and proxies give up an answer of which nothing comes after 30."""
MAX_WAITS = 6
"""Of one call: clients give up one that is answered ten times with a question, and its server may ask some too."""
URL_ELICITATION_SINCE = "2025-11-25"
"""The first version in which a client can be led to an address."""
MAX_STATE = 4096
_WAITING = frozenset({ApprovalState.ASKED, ApprovalState.ASKED_AGAIN, ApprovalState.PENDING})


@dataclass(frozen=True, slots=True)
class ResumedRequest:
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

    async def resume(self, exchange: Exchange, message: Message, view: View) -> ResumedRequest | None:
        """Let a request that comes back wait for its approvals: until they are decided, or it has waited long enough.

        What its client was asked is taken out of it, as the server never sees any of that. Raises ``ClientLeft``.
        """
        resumed = self._take_state(exchange, message, view)
        if resumed is not None and resumed.action == "accept":
            await self._wait(exchange, resumed)
        return resumed

    def _take_state(self, exchange: Exchange, message: Message, view: View) -> ResumedRequest | None:
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
        action = _user_action(message.params.pop("inputResponses", None))
        waits, *ids = (int(part, 16) for part in opened.decode().split(","))
        return ResumedRequest(frozenset(UUID(int=id) for id in ids), waits, action)

    async def _wait(self, exchange: Exchange, resumed: ResumedRequest) -> None:
        work = ClientWork()
        work.is_running = True
        try:
            with Watch(exchange, work, modern=True) as watch:
                watch.streaming = True
                async with asyncio.timeout(WAIT_SECONDS):
                    await self.news.settled(resumed.approvals)
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
        """Say what is needed, or why it is denied. Raises ``Refused``.

        ``leads``: a legacy client said, when it began its session, that it leads its user to addresses.
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
                and ClientFeatures.URL in client_features(message.params["_meta"][CAPABILITIES_KEY])
            ):
                result = self._input_required(exchange, message, denied, pending, resumed)
                if result is not None:
                    await exchange.answer(200, result_body(message.id, result))
                    return
        if message.method != "tools/call" or "task" in message.params:
            # Who waits for a task takes no result of the tool.
            raise denial_error(denied, self.link, modern=message.modern)
        result = denial_result(denied, self.link, modern=message.modern)
        await exchange.answer(200, result_body(message.id, result))

    def _input_required(
        self,
        exchange: Exchange,
        message: Message,
        denied: ApprovalNeeded,
        approvals: list[NeededApproval],
        resumed: ResumedRequest | None,
    ) -> dict[str, Any] | None:
        """What has a modern client ask its user, once for each approval, and come again; ``None``: often enough."""
        before = frozenset() if resumed is None else resumed.approvals
        questions = {
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
        if questions:
            result["inputRequests"] = questions
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
    """The approvals that may come yet; none when one of those that are needed will not."""
    if any(each.state is ApprovalState.DENIED for each in denied.approvals):
        return []
    return [each for each in denied.approvals if each.state in _WAITING]


def _elicitation_text(approval: NeededApproval, denied: Denied) -> str:
    tool = denied.decision.tool
    what = "A request" if tool is None else f'A call of "{tool.name}"'
    return f"{what} needs an approval. {approver_text(approval)} (Audit event {denial_event(denied)}.)"


def _user_action(responses: Any) -> str:
    """What the user did, at its worst. Nothing is said where nothing was asked: the client has come to wait."""
    given = responses.values() if isinstance(responses, dict) else ()
    actions = [each.get("action") for each in given if isinstance(each, dict)]
    return next((action for action in ("decline", "cancel") if action in actions), "accept")


def _purpose(exchange: Exchange, message: Message) -> bytes:
    """What a sealed state is for; never what a server's own is for."""
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
    """Whether a request carries what an approval of it would not cover.

    The next round of an approved call, proven by its state, brings answers that belong to that call. A state of another
    place is refused as such.
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
    """What is kept of the free part of ``_meta``."""
    if not isinstance(meta, dict):
        return {}
    checks = {"progressToken": _is_label, "traceparent": is_trace_parent, "tracestate": is_trace_state}
    return {name: meta[name] for name, check in checks.items() if name in meta and check(meta[name])}


def covered_body(message: Message) -> dict[str, Any]:
    """The message as it is forwarded of a call that took an approval."""
    meta = message.params.get("_meta")
    kept = covered_meta(meta)
    if message.modern and isinstance(meta, dict):
        declared = client_capabilities(meta[CAPABILITIES_KEY], modern=True)
        kept |= {
            VERSION_KEY: meta[VERSION_KEY],
            CAPABILITIES_KEY: keep_flags(declared),
            CLIENT_INFO_KEY: client_info(),
        }
        if meta.get(LOG_LEVEL_META_KEY) in LOG_LEVELS:
            kept[LOG_LEVEL_META_KEY] = meta[LOG_LEVEL_META_KEY]
    params = {name: value for name, value in message.params.items() if name != "_meta"}
    return {**message.body, "params": {**params, "_meta": kept} if kept else params}


def is_trace_parent(value: object) -> bool:
    """Whether it is a ``traceparent`` of W3C Trace Context."""
    return isinstance(value, str) and _TRACE_PARENT.fullmatch(value) is not None


def is_trace_state(value: object) -> bool:
    """Whether it is a ``tracestate`` of W3C Trace Context."""
    return (
        isinstance(value, str)
        and len(value) <= _MAX_TRACE_STATE
        and all(_TRACE_STATE.fullmatch(entry.strip(" \t")) for entry in value.split(","))
    )


def _is_label(value: object) -> bool:
    return type(value) is int or (isinstance(value, str) and _LABEL.fullmatch(value) is not None)
