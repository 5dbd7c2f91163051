"""The tools of the fixture server, one for each protocol feature of tools."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from tests.conformance.fixture_asking import ASKING
from tests.conformance.fixture_contents import PNG, WAV

Context = ServerRequestContext[Any, Any]
Result = types.CallToolResult | types.InputRequiredResult
Run = Callable[[Context, types.CallToolRequestParams], Awaitable[Result]]

BUS = InMemorySubscriptionBus()

_PAUSE = 0.05
_BEGUN = "scopegate.tests.begun"
_NO_ARGUMENTS = {"type": "object", "properties": {}}
_RICH_SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
_DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
_OPTIONS = ["option1", "option2", "option3"]
_TITLED = [
    {"const": "value1", "title": "First Option"},
    {"const": "value2", "title": "Second Option"},
    {"const": "value3", "title": "Third Option"},
]
_ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": _OPTIONS},
        "titledSingle": {"type": "string", "oneOf": _TITLED},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
        "titledMulti": {"type": "array", "items": {"anyOf": _TITLED}},
    },
}
_USER = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}


@dataclass(frozen=True, slots=True)
class FixtureTool:
    """A tool's definition and function."""

    name: str
    description: str
    run: Run
    schema: dict[str, Any] = field(default_factory=lambda: _NO_ARGUMENTS)


def telling_when_begun(app: Any) -> Any:
    """The application, whose tools can wait until the first event of their answer is on its way."""

    async def telling(scope: Any, receive: Any, send: Any) -> None:
        begun = asyncio.Event()

        async def sending(message: Any) -> None:
            await send(message)
            if message.get("body"):
                begun.set()

        await app(scope | {_BEGUN: begun}, receive, sending)

    return telling


def text(words: str, *, error: bool = False) -> types.CallToolResult:
    """Return a result with one text."""
    return types.CallToolResult(content=[types.TextContent(text=words)], is_error=error)


def _says(*content: types.ContentBlock) -> Run:
    async def run(ctx: Context, params: types.CallToolRequestParams) -> Result:
        return types.CallToolResult(content=list(content))

    return run


def _embedded(uri: str, media_type: str, words: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(
        resource=types.TextResourceContents(uri=uri, mime_type=media_type, text=words)
    )


async def _fails(ctx: Context, params: types.CallToolRequestParams) -> Result:
    return text("This tool intentionally returns an error for testing", error=True)


async def _logs(ctx: Context, params: types.CallToolRequestParams) -> Result:
    done = text("Tool with logging executed successfully")
    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        # Modern clients ask for logs, and these do not; nor do they wait for long.
        return done
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        message = types.LoggingMessageNotificationParams(level="info", data=words)
        await ctx.session.send_notification(
            types.LoggingMessageNotification(params=message), related_request_id=ctx.request_id
        )
        await asyncio.sleep(_PAUSE)
    return done


async def _progresses(ctx: Context, params: types.CallToolRequestParams) -> Result:
    for progress in (0, 50, 100):
        await ctx.session.report_progress(progress, 100)
        await asyncio.sleep(_PAUSE)
    return text("Tool with progress executed successfully")


async def _samples(ctx: Context, params: types.CallToolRequestParams) -> Result:
    prompt = str((params.arguments or {}).get("prompt", ""))
    content = types.TextContent(text=prompt)
    request = types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(
            messages=[types.SamplingMessage(role="user", content=content)], max_tokens=100
        )
    )
    metadata = ServerMessageMetadata(related_request_id=ctx.request_id)
    answer = await ctx.session.send_request(request, types.CreateMessageResult, metadata=metadata)
    words = answer.content.text if isinstance(answer.content, types.TextContent) else ""
    return text(f"LLM response: {words}")


def _elicits(schema: dict[str, Any], begin: str) -> Run:
    async def run(ctx: Context, params: types.CallToolRequestParams) -> Result:
        message = str((params.arguments or {}).get("message", "Please fill in the form"))
        answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
        return text(f"{begin}: action={answer.action}, content={json.dumps(answer.content or {})}")

    return run


async def _needs_sampling(ctx: Context, params: types.CallToolRequestParams) -> Result:
    declared = ctx.session.client_capabilities
    if declared is None or declared.sampling is None:
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "This tool needs the client capability sampling",
            {"requiredCapabilities": {"sampling": {}}},
        )
    return text("The client can sample")


async def _reconnects(ctx: Context, params: types.CallToolRequestParams) -> Result:
    if ctx.close_sse_stream is not None:
        # Closed sooner, it would end without the event that says where to take it up again.
        assert ctx.request is not None, "it is set where there is a stream"
        await ctx.request.scope[_BEGUN].wait()
        await ctx.close_sse_stream()
    await asyncio.sleep(2 * _PAUSE)
    return text("Reconnection test completed")


async def _changes_tools(ctx: Context, params: types.CallToolRequestParams) -> Result:
    await BUS.publish(ToolsListChanged())
    return text("Told of changed tools")


async def _changes_prompts(ctx: Context, params: types.CallToolRequestParams) -> Result:
    await BUS.publish(PromptsListChanged())
    return text("Told of changed prompts")


async def _echoes(ctx: Context, params: types.CallToolRequestParams) -> Result:
    return text(json.dumps(params.arguments or {}))


def _with_string(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string", **more}}, "required": [name]}


_IMAGE = types.ImageContent(data=PNG, mime_type="image/png")
_TOOLS = (
    FixtureTool(
        "test_simple_text",
        "Says a sentence",
        _says(types.TextContent(text="This is a simple text response for testing.")),
    ),
    FixtureTool("test_image_content", "Shows an image", _says(_IMAGE)),
    FixtureTool(
        "test_audio_content", "Plays a sound", _says(types.AudioContent(data=WAV, mime_type="audio/wav"))
    ),
    FixtureTool(
        "test_embedded_resource",
        "Embeds a resource",
        _says(_embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")),
    ),
    FixtureTool(
        "test_multiple_content_types",
        "Says, shows and embeds",
        _says(
            types.TextContent(text="Multiple content types test:"),
            _IMAGE,
            _embedded(
                "test://mixed-content-resource",
                "application/json",
                json.dumps({"test": "data", "value": 123}),
            ),
        ),
    ),
    FixtureTool("test_error_handling", "Fails", _fails),
    FixtureTool("test_tool_with_logging", "Logs while it works", _logs),
    FixtureTool("test_logging_tool", "Logs while it works, where logs are asked for", _logs),
    FixtureTool("test_tool_with_progress", "Tells how it goes", _progresses),
    FixtureTool("test_sampling", "Asks the client's model", _samples, _with_string("prompt")),
    FixtureTool(
        "test_elicitation", "Asks the user", _elicits(_USER, "User response"), _with_string("message")
    ),
    FixtureTool(
        "test_elicitation_sep1034_defaults",
        "Asks the user with defaults",
        _elicits(_DEFAULTS, "Elicitation completed"),
    ),
    FixtureTool(
        "test_elicitation_sep1330_enums",
        "Asks the user to choose",
        _elicits(_ENUMS, "Elicitation completed"),
    ),
    FixtureTool("test_reconnection", "Closes its stream before it answers", _reconnects),
    FixtureTool("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", _echoes, _RICH_SCHEMA),
    FixtureTool(
        "test_custom_headers",
        "Takes an argument that is a header too",
        _echoes,
        _with_string("region", **{"x-mcp-header": "Region"}),
    ),
    FixtureTool("test_missing_capability", "Needs a client that can sample", _needs_sampling),
    FixtureTool("test_trigger_tool_change", "Tells listeners of changed tools", _changes_tools),
    FixtureTool("test_trigger_prompt_change", "Tells listeners of changed prompts", _changes_prompts),
    *(FixtureTool(name, description, run) for name, description, run in ASKING),
)
TOOLS = {tool.name: tool for tool in _TOOLS}
