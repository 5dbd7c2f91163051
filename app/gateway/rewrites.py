"""What is changed of a mirror's answers: lists and capabilities shown, and the rounds of a request for input.

A modern server that needs input answers with its questions and a state, and gets both back with the client's next
request. That request is decided like any other; the state is sealed, so that it is of use to this token, for this
method of this server, and to nobody else.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from app.admission.store import SyncRequests, View
from app.gateway.catalogue import (
    carried_capabilities,
    filter_tools,
    keep_approved_instructions,
    make_private,
    shows_instructions,
)
from app.gateway.pipeline import Passed
from app.gateway.questions import QuestionRules
from app.gateway.sessions import SessionSealer
from app.gateway.tasks import TasksHere, tells_of_task
from app.gateway.wire.answers import Rewrite, dump
from app.gateway.wire.envelope import NEWEST_FIRST, Message
from app.gateway.wire.members import keep_introduction, keep_list, kept_item
from app.gateway.wire.methods import INPUT_METHODS, Asks
from app.gateway.wire.refusals import bad_upstream, invalid_params
from app.lib import strict_json

MAX_STATE = 1024 * 1024
_LISTS = {
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
_OF_TASKS = frozenset({"tools/call", "tasks/get", "tasks/result", "tasks/cancel"})


def rewrite_of(
    message: Message,
    passed: Passed,
    sealer: SessionSealer,
    sync_requests: SyncRequests,
    tasks: Callable[[Passed], TasksHere],
    questions: QuestionRules,
    asks: Asks,
) -> Rewrite:
    """What to do with the result of a request."""
    method = message.method
    if method == "tools/list":
        return _rewriting(
            message, lambda result: filter_tools(result, passed.on, passed.names, sync_requests)
        )
    if method in {"initialize", "server/discover"}:
        return _rewriting(message, lambda result: _introduce(result, message, passed, sync_requests))
    if method in _LISTS:
        return _rewriting(message, lambda result: _keep_items(result, _LISTS[method]))
    if not message.modern and method not in _OF_TASKS:
        return refuse_questions

    def rewrite(result: dict[str, Any]) -> bool:
        if not message.modern:
            refuse_questions(result)
        elif result.get("resultType") == "input_required":
            return pass_questions(result, message, passed, sealer, questions, asks)
        dropped = "inputRequests" in result and questions.check(result["inputRequests"], asks)
        if method == "resources/read":
            make_private(result)
            return True
        if not tells_of_task(message, result):
            return dropped
        return tasks(passed).show_in_result(message, result) or dropped

    return rewrite


def refuse_questions(result: dict[str, Any]) -> bool:
    """Pass a result as it is in which nothing is asked: in no era before 2026-07-28. Raises ``Refused``."""
    if "inputRequests" in result or result.get("resultType") == "input_required":
        raise bad_upstream("The server behind the gateway asked for input where it may not.")
    return False


def _rewriting(message: Message, change: Callable[[dict[str, Any]], None]) -> Rewrite:
    def rewrite(result: dict[str, Any]) -> bool:
        if result.get("resultType", "complete") != "complete":
            raise bad_upstream("The server behind the gateway asked for input where it may not.")
        change(result)
        if message.modern:
            make_private(result)
        return True

    return rewrite


def _keep_items(result: dict[str, Any], key: str) -> None:
    keep_list(result, key)
    if key in result:
        items = result[key] if isinstance(result[key], list) else []
        result[key] = [kept_item(key, item) for item in items if isinstance(item, dict)]


def _introduce(result: dict[str, Any], message: Message, passed: Passed, sync_requests: SyncRequests) -> None:
    parts = passed.names
    keep_introduction(result)
    keep_approved_instructions(result, passed.on, sync_requests)
    if not shows_instructions(result.get("capabilities"), parts):
        result.pop("instructions", None)
    result["capabilities"] = carried_capabilities(result.get("capabilities"), parts, modern=message.modern)
    offered = passed.to.protocol_versions or NEWEST_FIRST
    if message.modern:
        result["supportedVersions"] = list(offered)
    elif result.get("protocolVersion") not in offered:
        raise bad_upstream("The server behind the gateway speaks another protocol version than it did.")


def pass_questions(
    result: dict[str, Any],
    message: Message,
    passed: Passed,
    sealer: SessionSealer,
    questions: QuestionRules,
    asks: Asks,
) -> bool:
    """Let through what the client may be asked. Raises ``Refused`` for anything else."""
    if message.method not in INPUT_METHODS or not message.modern:
        raise bad_upstream("The server behind the gateway asked for input where it may not.")
    dropped = questions.check(result.get("inputRequests", {}), asks)
    state = result.get("requestState")
    if state is not None and not isinstance(state, str):
        raise bad_upstream("The server behind the gateway sent a state that is not a string.")
    if passed.approved:
        # The next round goes on with what this one took: it proves that it is the next round.
        content = dump([state, passed.call_id.hex])
    elif state is None:
        return dropped
    else:
        content = dump(state)
    sealed = sealer.seal(passed.view.token.id, passed.on.id, content, state_purpose(message))
    result["requestState"] = sealed.decode()
    return True


class Round(NamedTuple):
    """What the state of a request says of the rounds before: the server's own, and the approved call that goes on.

    ``foreign``: it is not of this place.
    """

    state: str | None = None
    continues: UUID | None = None
    foreign: bool = False

    def check(self) -> None:
        """Raise ``Refused`` for a state that is not of this place; only who may use the place is told so."""
        if self.foreign:
            raise invalid_params("Invalid or expired requestState", modern=True)


FIRST_ROUND = Round()


def open_state(message: Message, view: View, slug: str, sealer: SessionSealer) -> Round:
    """Put the server's own state back into a modern request, in place of the one that its client was given."""
    if not message.modern or "requestState" not in message.params:
        return FIRST_ROUND
    state, server = message.params.pop("requestState"), view.servers.get(slug)
    if state is None or server is None:
        # Not in reach as far as this worker knows. Should it be by the time of the decision, this is no state of its.
        return FIRST_ROUND
    opened = None
    if isinstance(state, str) and state.isascii():
        opened = sealer.open(view.token.id, server.id, state.encode(), state_purpose(message), MAX_STATE)
    if opened is None:
        return Round(foreign=True)
    content: Any = strict_json.loads(opened)
    found = Round(content[0], UUID(hex=content[1])) if isinstance(content, list) else Round(content)
    if found.state is not None:
        message.params["requestState"] = found.state
    return found


def state_purpose(message: Message) -> bytes:
    """What a sealed state is for."""
    name = message.params.get("uri" if message.method == "resources/read" else "name")
    return f"state:{message.method}:{name}".encode()
