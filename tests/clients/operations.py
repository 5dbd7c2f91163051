"""Which operations of the contract a client really asked for, by what went over the wire."""

import json
import re
from pathlib import Path
from typing import Any

import httpx

CONTRACT = Path(__file__).parents[2] / "openapi" / "openapi.json"


def contract() -> list[tuple[str, re.Pattern[str], str]]:
    """Each operation: its method, what its paths look like, its name. Fixed paths come before those with ids."""
    document: dict[str, Any] = json.loads(CONTRACT.read_text(encoding="utf-8"))
    found = [
        (method.upper(), path, operation["operationId"])
        for path, item in document["paths"].items()
        for method, operation in item.items()
        # No client reads files and streams without an end as the answer of a call.
        if not is_file(operation)
    ]
    found.sort(key=lambda operation: "{" in operation[1])
    return [
        (method, re.compile(re.sub(r"\\?\{\w+\\?\}", "[^/]+", re.escape(path))), name)
        for method, path, name in found
    ]


def is_file(operation: dict[str, Any]) -> bool:
    """Whether an operation answers something that is no JSON."""
    content = operation["responses"].get("200", {}).get("content", {})
    return bool(content) and "application/json" not in content


class Touched(set[str]):
    """The names of the operations that were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._contract = contract()

    def note(self, request: httpx.Request) -> None:
        """Note what this request asks for; an unknown one is a fault of the client."""
        for method, pattern, name in self._contract:
            if method == request.method and pattern.fullmatch(request.url.path):
                self.add(name)
                return
        raise AssertionError(f"{request.method} {request.url.path} is not in the contract")

    async def note_async(self, request: httpx.Request) -> None:
        """The same, as httpx wants it for asyncio."""
        self.note(request)
