"""A client on FastMCP that runs tools as tasks (2026-07-28), with URL and SCOPEGATE_TOKEN in the environment.

It tells what it sees, one JSON value to a line. Runs in an environment of its own.
"""

import asyncio
import json
import os
from typing import Any

from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from fastmcp_tasks import call_tool_task


async def answer(message: str, response_type: Any, params: Any, context: Any) -> dict[str, str]:
    """A user who answers every question."""
    say({"asked": message})
    return {"city": "Oslo"}


def say(value: Any) -> None:
    """One line."""
    print(json.dumps(value), flush=True)  # noqa: T201


async def main() -> None:
    """Run tools as tasks, to their end and not."""
    token = os.environ["SCOPEGATE_TOKEN"]
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    transport = StreamableHttpTransport(os.environ["URL"], headers=headers)
    async with Client(transport, elicitation_handler=answer) as client:
        for name, arguments in (("add", {"a": 1, "b": 2}), ("fail", {}), ("where", {})):
            task = await call_tool_task(client, name, arguments, raise_on_error=False)
            result = await task.result()
            state = await task.status()
            same = state.task_id == task.task_id
            say({"error": result.is_error, "text": str(result.content), "status": state.status, "same": same})
        say({"unseen": (await client.call_tool("add", {"a": 3, "b": 4})).data})
        task = await call_tool_task(client, "wait", {})
        await task.cancel()
        say({"called off": (await task.wait(timeout=20)).status})


if __name__ == "__main__":
    asyncio.run(main())
