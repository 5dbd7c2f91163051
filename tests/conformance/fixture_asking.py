"""Tools and a prompt of the fixture server with input requests in their results (MCP 2026-07-28)."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext

Context = ServerRequestContext[Any, Any]
Params = types.CallToolRequestParams | types.GetPromptRequestParams
Run = Callable[
    [Context, types.CallToolRequestParams], Awaitable[types.CallToolResult | types.InputRequiredResult]
]
Questions = Mapping[str, types.InputRequest]


def _form(message: str, name: str, type: str = "string") -> types.ElicitRequest:
    schema = {"type": "object", "properties": {name: {"type": type}}, "required": [name]}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(words: str, tokens: int) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=types.TextContent(text=words))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=tokens)
    )


def _answers(params: Params, questions: Questions) -> dict[str, Any] | None:
    """Return the answers by input request; ``None`` unless all are valid."""
    given = params.input_responses or {}
    found: dict[str, Any] = {}
    for key, question in questions.items():
        answer: Any = given.get(key)
        if isinstance(question, types.ElicitRequest):
            if not isinstance(answer, types.ElicitResult) or answer.action != "accept" or not answer.content:
                return None
            found[key] = next(iter(answer.content.values()))
        elif isinstance(question, types.ListRootsRequest):
            if not isinstance(answer, types.ListRootsResult):
                return None
            found[key] = ", ".join(str(root.uri) for root in answer.roots)
        else:
            content = getattr(answer, "content", None)
            if not isinstance(content, types.TextContent):
                return None
            found[key] = content.text
    return found


def _asks(questions: Questions, state: str | None, answer: Callable[[dict[str, Any]], str]) -> Run:
    """A tool that answers after its input requests are answered and its state is returned."""

    async def run(
        ctx: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        answers = _answers(params, questions)
        if answers is None or params.request_state != state:
            return types.InputRequiredResult(input_requests=dict(questions), request_state=state)
        return types.CallToolResult(content=[types.TextContent(text=answer(answers))])

    return run


async def _in_rounds(
    ctx: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    first = {"step1": _form("Step 1: What is your name?", "name")}
    second = {"step2": _form("Step 2: What is your favorite color?", "color")}
    if params.request_state == "second" and _answers(params, second) is not None:
        return types.CallToolResult(content=[types.TextContent(text="All steps are done")])
    if params.request_state == "first" and _answers(params, first) is not None:
        return types.InputRequiredResult(input_requests=dict(second), request_state="second")
    return types.InputRequiredResult(input_requests=dict(first), request_state="first")


async def _as_able(
    ctx: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | types.InputRequiredResult:
    able = ctx.session.client_capabilities or types.ClientCapabilities()
    questions: dict[str, types.InputRequest] = {}
    if able.sampling is not None:
        questions["sampled"] = _sample("Say something", 50)
    if able.elicitation is not None:
        questions["elicited"] = _form("What is your name?", "name")
    if not questions or _answers(params, questions) is not None:
        return types.CallToolResult(content=[types.TextContent(text="Nothing more to ask")])
    return types.InputRequiredResult(input_requests=questions)


async def ask_for_prompt(
    params: types.GetPromptRequestParams,
) -> types.GetPromptResult | types.InputRequiredResult:
    """The prompt that asks for its context first."""
    questions = {"user_context": _form("What context should the prompt use?", "context")}
    answers = _answers(params, questions)
    if answers is None:
        return types.InputRequiredResult(input_requests=dict(questions))
    content = types.TextContent(text=f"Context: {answers['user_context']}")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content)])


_NAME = _form("What is your name?", "name")
_CONFIRM = {"confirm": _form("Please confirm", "ok", "boolean")}
_PREFIX = "test_input_required_result_"
ASKING: tuple[tuple[str, str, Run], ...] = (
    (
        _PREFIX + "elicitation",
        "Asks for a name",
        _asks({"user_name": _NAME}, None, lambda given: f"Hello, {given['user_name']}!"),
    ),
    (
        "test_streaming_elicitation",
        "Asks for a name",
        _asks({"user_name": _NAME}, None, lambda given: "Thanks"),
    ),
    (
        _PREFIX + "sampling",
        "Asks the model",
        _asks(
            {"capital_question": _sample("What is the capital of France?", 100)},
            None,
            lambda given: str(given["capital_question"]),
        ),
    ),
    (
        _PREFIX + "list_roots",
        "Asks for roots",
        _asks(
            {"client_roots": types.ListRootsRequest()}, None, lambda given: f"Roots: {given['client_roots']}"
        ),
    ),
    (_PREFIX + "request_state", "Keeps a state", _asks(_CONFIRM, "asked", lambda given: "state-ok")),
    (_PREFIX + "tampered_state", "Guards a state", _asks(_CONFIRM, "guarded", lambda given: "state-ok")),
    (
        _PREFIX + "multiple_inputs",
        "Asks for much at once",
        _asks(
            {
                "user_name": _NAME,
                "greeting": _sample("Generate a greeting", 50),
                "client_roots": types.ListRootsRequest(),
            },
            "several",
            lambda given: f"{given['greeting']}, {given['user_name']}: {given['client_roots']}",
        ),
    ),
    (_PREFIX + "multi_round", "Asks twice", _in_rounds),
    (_PREFIX + "capabilities", "Asks what the client can answer", _as_able),
)
