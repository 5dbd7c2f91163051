"""Members of an upstream's messages: only those of the protocol pass, spelled exactly.

Clients in Go, .NET and Java match the names of members regardless of case. A member that differs from one of the
protocol only by case would be one thing to us and another to them, so the message is refused. Unknown members are
dropped. What a user or a tool names itself (schemas, arguments, structured content) is left alone.
"""

from typing import Any

from mcp_types import SERVER_INFO_META_KEY

from app.gateway.wire.refusals import bad_upstream
from app.lib.strict_json import folded


class Members:
    """The names that an object of the protocol may have."""

    def __init__(self, names: str) -> None:
        self.names = frozenset(names.split())
        self._folded = frozenset(map(folded, self.names))

    def check(self, holder: dict[str, Any]) -> None:
        """Raise ``Refused`` for a name that differs from a known one only by case."""
        if holder.keys() <= self.names:
            return
        for name in holder:
            if name not in self.names and folded(name) in self._folded:
                raise bad_upstream(
                    "The server behind the gateway spelled a member of its answer in another case than MCP's."
                )

    def keep(self, holder: dict[str, Any]) -> bool:
        """Drop unknown names; whether there were any. Raises as ``check`` does."""
        if holder.keys() <= self.names:
            return False
        self.check(holder)
        for name in [name for name in holder if name not in self.names]:
            del holder[name]
        return True

    def of(self, holder: Any) -> dict[str, Any]:
        """A copy with the known names only; empty for what is no object."""
        if not isinstance(holder, dict):
            return {}
        return {name: value for name, value in holder.items() if name in self.names}


ANSWER = Members("jsonrpc id result error")
REQUEST = Members("jsonrpc id method params")
ERROR = Members("code message data")
_TASK = "taskId status statusMessage createdAt lastUpdatedAt"
RESULT = Members(
    "_meta resultType ttlMs cacheScope nextCursor tools prompts resources resourceTemplates contents content isError "
    "structuredContent messages description completion protocolVersion capabilities serverInfo instructions "
    f"supportedVersions inputRequests requestState task ttl pollInterval pollIntervalMs result error {_TASK}"
)
"""Of the results of all methods that are carried, with those of the extension for tasks."""
TASK = Members(f"_meta ttl ttlMs pollInterval pollIntervalMs {_TASK}")
INPUT = Members("method params")
"""Of a question within a result."""
ELICITATIONS = Members("elicitations")
"""Of the data of an error that leads the user to an address."""
PARAMS = Members(
    "_meta requestId reason progressToken progress total message level logger data uri elicitationId notifications "
    "mode url requestedSchema task messages modelPreferences systemPrompt includeContext temperature maxTokens "
    f"stopSequences metadata tools toolChoice ttl ttlMs pollInterval pollIntervalMs inputRequests result error {_TASK}"
)
"""Of the notifications and requests of servers."""
BLOCK = Members(
    "_meta annotations type text data mimeType blob uri name title description icons size resource id input toolUseId "
    "content structuredContent isError role"
)
"""Of a piece of content, of what it embeds, and of a message of a prompt."""
PROMPT = Members("_meta name title description icons arguments")
PROMPT_ARGUMENT = Members("name title description required")
RESOURCE = Members("_meta uri uriTemplate name title description icons mimeType size annotations")

INTRODUCTION = Members(
    "_meta protocolVersion supportedVersions capabilities serverInfo instructions resultType"
)
LISTS = {
    key: Members(f"_meta nextCursor resultType ttlMs cacheScope {key}")
    for key in ("tools", "prompts", "resources", "resourceTemplates")
}
IMPLEMENTATION = Members("name title version")
"""Who a server says that it is; not its description, which a model would read and nobody has approved."""


def check_answer(message: dict[str, Any]) -> bool:
    """Keep of an answer what is the protocol's; whether something was dropped. Raises ``Refused``."""
    dropped = ANSWER.keep(message)
    error, result = message.get("error"), message.get("result")
    if isinstance(error, dict):
        dropped |= ERROR.keep(error)
    if isinstance(result, dict):
        dropped |= check_result(result)
    return dropped


def check_result(result: dict[str, Any]) -> bool:
    """Keep of a result what is the protocol's; whether something was dropped. Raises ``Refused``."""
    dropped = RESULT.keep(result)
    _check_blocks(result.get("content"))
    if "messages" in result or "contents" in result:
        _check_blocks(result.get("messages"))
        _check_blocks(result.get("contents"))
    task, inner = result.get("task"), result.get("result")
    if isinstance(task, dict):
        dropped |= TASK.keep(task)
    if isinstance(inner, dict):
        dropped |= check_result(inner)
    return dropped


def check_sent(message: dict[str, Any]) -> bool:
    """The same of a notification, or a request, of a server. Raises ``Refused``."""
    dropped = REQUEST.keep(message)
    params = message.get("params")
    if isinstance(params, dict):
        PARAMS.check(params)
        if isinstance(params.get("result"), dict):
            dropped |= check_result(params["result"])
    return dropped


def _check_blocks(blocks: Any) -> None:
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict):
            BLOCK.check(block)
            for inner in (block.get("resource"), block.get("content")):
                if isinstance(inner, dict):
                    BLOCK.check(inner)


def kept_item(key: str, item: dict[str, Any]) -> dict[str, Any]:
    """An item of a list of prompts, resources or templates with the protocol's members only."""
    kept = (PROMPT if key == "prompts" else RESOURCE).of(item)
    if isinstance(kept.get("arguments"), list):
        kept["arguments"] = [PROMPT_ARGUMENT.of(each) for each in kept["arguments"]]
    return kept


def keep_introduction(result: dict[str, Any]) -> None:
    """Keep what introduces a server, and of who it says that it is its name and version."""
    _keep_only(result, INTRODUCTION)
    if "serverInfo" in result:
        result["serverInfo"] = _implementation(result["serverInfo"])


def keep_list(result: dict[str, Any], key: str) -> None:
    """Keep what makes a page of a list."""
    _keep_only(result, LISTS[key])
    if not isinstance(result.get("nextCursor", ""), str):
        del result["nextCursor"]


def _keep_only(result: dict[str, Any], members: Members) -> None:
    for name in [name for name in result if name not in members.names]:
        del result[name]
    meta = result.pop("_meta", None)
    if isinstance(meta, dict) and SERVER_INFO_META_KEY in meta:
        result["_meta"] = {SERVER_INFO_META_KEY: _implementation(meta[SERVER_INFO_META_KEY])}


def _implementation(info: Any) -> dict[str, str]:
    return {name: text for name, text in IMPLEMENTATION.of(info).items() if isinstance(text, str)}
