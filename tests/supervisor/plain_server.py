"""A stdio server on the standard library alone, of both eras: it starts at once, and misbehaves on request."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

DAEMON = """
import os, time
if os.fork():
    os._exit(0)
os.setsid()
print(os.getpid(), flush=True)
time.sleep(600)
"""
CHILD = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"

calls = count(1)
asked: dict[Any, Any] = {}


def say(**message: Any) -> None:
    """Send a message."""
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(id: Any, value: object) -> None:
    """Answer a call."""
    say(id=id, result={"content": [{"type": "text", "text": str(value)}], "resultType": "complete"})


def attempt(work: Callable[[], object]) -> object:
    """What comes of it, or the name of what is in the way."""
    try:
        return work()
    except (OSError, MemoryError) as error:
        return type(error).__name__


def progress(id: Any, meta: dict[str, Any]) -> None:
    """Tell of two steps, then answer."""
    for step in (1, 2):
        params = {"progressToken": meta["progressToken"], "progress": step, "total": 2}
        say(method="notifications/progress", params=params)
    text(id, "done")


def ask(id: Any) -> None:
    """Ask the client; the call is answered with what it said."""
    asked["q-1"] = id
    params = {"message": "Which?", "requestedSchema": {"type": "object", "properties": {}}}
    say(id="q-1", method="elicitation/create", params=params)


def starts(code: str) -> str:
    """Run a program that tells a process id, and goes on."""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    return child.stdout.readline().decode().strip()


def pour(what: str) -> None:
    """Write without end."""
    while True:
        sys.stdout.write(what)


def deaf(id: Any) -> None:
    """Read nothing any more."""
    text(id, "deaf")
    time.sleep(600)


def leaves() -> str:
    """Leave a file where anybody may."""
    handle, path = tempfile.mkstemp(dir="/tmp")
    os.close(handle)
    return path


def who() -> str:
    """Which user this is, and where."""
    places = {"home": str(Path.home()), "data": str(Path.cwd())}
    return json.dumps({"uid": os.getuid(), "groups": os.getgroups(), **places})


TOOLS: dict[str, Callable[[Any, dict[str, Any], dict[str, Any]], object]] = {
    "count": lambda id, _, __: text(id, next(calls)),
    "pid": lambda id, _, __: text(id, os.getpid()),
    "who": lambda id, _, __: text(id, who()),
    "leaves": lambda id, _, __: text(id, leaves()),
    "environment": lambda id, _, __: text(id, json.dumps(dict(os.environ))),
    "crash": lambda *_: os.kill(os.getpid(), signal.SIGKILL),
    "progress": lambda id, _, meta: progress(id, meta),
    "ask": lambda id, _, __: ask(id),
    "child": lambda id, _, __: text(id, starts(CHILD)),
    "daemon": lambda id, _, __: text(id, starts(DAEMON)),
    "flood": lambda *_: pour("unrequested output\n" * 1000),
    "long_line": lambda *_: pour("x" * 65536),
    "deaf": lambda id, _, __: deaf(id),
    "silent": lambda *_: None,
    "large": lambda id, given, _: text(id, "x" * given["bytes"]),
    "reads": lambda id, given, _: text(id, attempt(lambda: Path(given["path"]).read_text())),
    "writes": lambda id, given, _: text(id, attempt(lambda: Path(given["path"]).write_text("kept"))),
    "signals": lambda id, given, _: text(id, attempt(lambda: os.kill(given["pid"], 0))),
    "allocates": lambda id, given, _: text(id, attempt(lambda: len(bytearray(given["bytes"])))),
}
SHOWN = ("count", "pid", "environment", "progress", "ask", "silent", "crash")


def introduce(id: Any, params: dict[str, Any]) -> None:
    """Answer ``initialize``."""
    info = {"name": "plain", "version": "1"}
    result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    if "--never" not in sys.argv:
        say(id=id, result=result)


def discover(id: Any) -> None:
    """Answer ``server/discover``."""
    if "--legacy" in sys.argv:
        say(id=id, error={"code": -32601, "message": "Method not found"})
    elif "--never" not in sys.argv:
        result = {
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "resultType": "complete",
        }
        say(id=id, result={**result, "ttlMs": 0, "cacheScope": "private"})


def listing(id: Any) -> None:
    """Answer ``tools/list``."""
    tools = [{"name": n, "description": f"It does {n}.", "inputSchema": {"type": "object"}} for n in SHOWN]
    say(id=id, result={"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"})


def listen(id: Any) -> None:
    """Open a subscription and tell of one thing."""
    meta = {"io.modelcontextprotocol/subscriptionId": id}
    say(method="notifications/subscriptions/acknowledged", params={"notifications": {}, "_meta": meta})
    say(method="notifications/tools/list_changed", params={"_meta": meta})


METHODS: dict[str, Callable[[Any, dict[str, Any]], object]] = {
    "initialize": introduce,
    "server/discover": lambda id, _: discover(id),
    "tools/list": lambda id, _: listing(id),
    "tools/call": lambda id, given: TOOLS[given["name"]](
        id, given.get("arguments") or {}, given.get("_meta") or {}
    ),
    "subscriptions/listen": lambda id, _: listen(id),
    "notifications/cancelled": lambda _, given: asked.update(cancelled=given["requestId"]),
    "cancelled?": lambda id, _: text(id, asked.get("cancelled")),
}


def main() -> None:
    """Serve until the input ends."""
    sys.stdout.write("a banner, as some servers print one\n")
    sys.stdout.flush()
    for line in sys.stdin:
        message = json.loads(line)
        method, id = message.get("method"), message.get("id")
        if method is None:
            text(asked.pop(id), message.get("result", {}).get("action"))
        elif method in METHODS:
            METHODS[method](id, message.get("params") or {})


if "--exits" in sys.argv:
    sys.exit(3)
main()
