"""A server whose tools run as tasks (2026-07-28), for what the conformance suite asks of that extension.

``python -m tests.conformance.fixture_tasks FD`` serves what it inherits.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import mcp_types as types
import uvicorn
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import decode_header_value
from mcp_types.jsonrpc import HEADER_MISMATCH

EXTENSION = "io.modelcontextprotocol/tasks"
Context = ServerRequestContext[Any, Any]
NAME = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class OfTask(types.RequestParams):
    """What is asked about a task."""

    task_id: str
    input_responses: dict[str, Any] | None = None


def now() -> str:
    return datetime.now(UTC).isoformat()


def text(words: str, *, error: bool = False) -> dict[str, Any]:
    return {"resultType": "complete", "content": [{"type": "text", "text": words}], "isError": error}


def question(message: str) -> dict[str, Any]:
    params = {"mode": "form", "message": message, "requestedSchema": NAME}
    return {"method": "elicitation/create", "params": params}


@dataclass
class Job:
    """A task."""

    id: str = field(default_factory=lambda: str(uuid4()))
    created: str = field(default_factory=now)
    status: str = "working"
    outcome: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Task[None] | None = None

    def state(self) -> dict[str, Any]:
        """Return the task as in messages."""
        fields = {"taskId": self.id, "status": self.status, "createdAt": self.created, "lastUpdatedAt": now()}
        return {**fields, "ttlMs": 600_000, "pollIntervalMs": 100}

    async def ask(self, **questions: str) -> dict[str, Any]:
        """The answers to questions that are asked at once."""
        self.asked = {key: question(message) for key, message in questions.items()}
        self.status = "input_required"
        await self.answered.wait()
        self.status = "working"
        return self.answers

    def answer(self, responses: dict[str, Any]) -> None:
        """Take answers to what was asked."""
        self.answers |= {key: responses[key] for key in responses if self.asked.pop(key, None)}
        if not self.asked:
            self.answered.set()

    async def run(self, doing: Awaitable[dict[str, Any]]) -> None:
        """Do the work."""
        try:
            self.outcome, self.status = {"result": await doing}, "completed"
        except asyncio.CancelledError:
            self.status = "cancelled"
        except MCPError as error:
            self.outcome = {"error": {"code": error.error.code, "message": error.error.message}}
            self.status = "failed"


Do = Callable[[Job, dict[str, Any]], Awaitable[dict[str, Any]]]
JOBS: dict[str, Job] = {}


async def compute(_job: Job, arguments: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(float(arguments.get("seconds", 0)))
    return text(f"Computed {arguments.get('label', '')}")


async def fail(_job: Job, _arguments: dict[str, Any]) -> dict[str, Any]:
    return text("It failed", error=True)


async def break_off(_job: Job, _arguments: dict[str, Any]) -> dict[str, Any]:
    raise MCPError(types.INTERNAL_ERROR, "It broke")


async def confirm(job: Job, arguments: dict[str, Any]) -> dict[str, Any]:
    await job.ask(confirm=f"Delete {arguments.get('filename')}?")
    return text("Deleted")


async def ask_twice(job: Job, _arguments: dict[str, Any]) -> dict[str, Any]:
    await job.ask(first="Who?", second="And who?")
    return text("Two were named")


async def greet_later(_job: Job, arguments: dict[str, Any]) -> dict[str, Any]:
    return text(f"Hello, {arguments['user_name']}!")


TOOLS: dict[str, Do] = {
    "slow_compute": compute,
    "failing_job": fail,
    "protocol_error_job": break_off,
    "confirm_delete": confirm,
    "multi_input": ask_twice,
    "test_tool_with_task": greet_later,
}
REQUIRED = {"failing_job", "test_tool_with_task"}


def declared(ctx: Context) -> bool:
    """Whether the client can have tasks."""
    able = ctx.session.client_capabilities
    return able is not None and EXTENSION in (able.extensions or {})


def missing() -> MCPError:
    data: dict[str, Any] = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    return MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, "Missing required client capability", data)


async def list_tools(ctx: Context, params: Any) -> types.ListToolsResult:
    names = ["greet", *TOOLS]
    return types.ListToolsResult(
        tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in names]
    )


async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
    arguments = dict(params.arguments or {})
    if params.name == "greet":
        return text(f"Hello, {arguments.get('name')}!")
    if params.name == "test_tool_with_task":
        given = (params.input_responses or {}).get("user_name")
        if given is None:
            asked = {"user_name": question("What is your name?")}
            return {"resultType": "input_required", "inputRequests": asked, "requestState": "asked"}
        arguments["user_name"] = getattr(given, "content", {})["name"]
    job, do = Job(), TOOLS[params.name]
    if declared(ctx):
        JOBS[job.id] = job
        job.work = asyncio.create_task(job.run(do(job, arguments)))
        return {"resultType": "task", **job.state()}
    if params.name in REQUIRED:
        raise missing()
    return await do(job, arguments)


def found(ctx: Context, params: OfTask) -> Job:
    """The task that is meant."""
    header = ctx.request.headers.get("mcp-name") if ctx.request is not None else None
    if header is not None and decode_header_value(header) != params.task_id:
        raise MCPError(HEADER_MISMATCH, "Mcp-Name is of another task")
    if not declared(ctx):
        raise missing()
    if params.task_id not in JOBS:
        raise MCPError(types.INVALID_PARAMS, "Task not found")
    return JOBS[params.task_id]


async def get(ctx: Context, params: OfTask) -> dict[str, Any]:
    job = found(ctx, params)
    asked = {"inputRequests": job.asked} if job.status == "input_required" else {}
    return {**job.state(), **asked, **job.outcome}


async def update(ctx: Context, params: OfTask) -> dict[str, Any]:
    found(ctx, params).answer(params.input_responses or {})
    return {}


async def cancel(ctx: Context, params: OfTask) -> dict[str, Any]:
    job = found(ctx, params)
    if job.work is not None:
        job.work.cancel()
    return {}


def fixture() -> Server[Any]:
    """The server."""
    server = Server[Any]("tasks-fixture", version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool)
    server.extensions[EXTENSION] = {}
    for method, handler in (("get", get), ("update", update), ("cancel", cancel)):
        server.add_request_handler(f"tasks/{method}", OfTask, handler)
    return server


if __name__ == "__main__":
    uvicorn.run(fixture().streamable_http_app(), fd=int(sys.argv[1]), log_level="error", ws="none")
