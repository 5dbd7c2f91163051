"""Ready-to-paste settings of each MCP client. None of them holds the secret: each reads it from the environment
or asks for it, so that a settings file that is shared or committed gives nothing away."""

import json
import shlex
from functools import lru_cache
from typing import Any

from pydantic import ConfigDict, Field

from app.http.schemas import Strict

NAME = "scopegate"
VARIABLE = "SCOPEGATE_TOKEN"


class Snippet(Strict):
    """Text to paste, and where it goes."""

    model_config = ConfigDict(extra="forbid", title="ConnectSnippet")

    format: str = Field(description="`shell`, `json` or `toml`.", examples=["json"])
    where: str = Field(description="The file to put it in, or the terminal.", examples=["~/.cursor/mcp.json"])
    text: str = Field(description="The text.", examples=["export ..."])


class Connect(Strict):
    """How to connect with this token: set `variable` to the secret, then use the snippet of the client at hand."""

    model_config = ConfigDict(extra="forbid", title="ConnectSettings")

    url: str = Field(description="The endpoint of the whole fleet.", examples=["https://mcp.example.com/mcp"])
    variable: str = Field(description="The environment variable that the snippets read.", examples=[VARIABLE])
    claude_code: Snippet
    cursor: Snippet
    vscode: Snippet
    codex: Snippet
    claude_desktop: Snippet
    inspector: Snippet


def _json(where: str, value: dict[str, Any]) -> Snippet:
    return Snippet(format="json", where=where, text=json.dumps(value, indent=2))


def _vscode(url: str) -> dict[str, Any]:
    ask = {"type": "promptString", "id": VARIABLE, "description": "Scopegate token", "password": True}
    headers = {"Authorization": f"Bearer ${{input:{VARIABLE}}}"}
    return {"inputs": [ask], "servers": {NAME: {"type": "http", "url": url, "headers": headers}}}


def _claude_desktop(url: str) -> dict[str, Any]:
    # The header's value comes from the environment whole: some builds split arguments at the blank after "Bearer".
    arguments = ["-y", "mcp-remote", url, "--header", "Authorization:${SCOPEGATE_AUTHORIZATION}"]
    if url.startswith("http://"):
        arguments.append("--allow-http")
    environment = {"SCOPEGATE_AUTHORIZATION": "Bearer <the token>"}
    return {"mcpServers": {NAME: {"command": "npx", "args": arguments, "env": environment}}}


@lru_cache(maxsize=4)
def connect_settings(public_url: str) -> Connect:
    """The settings for the whole fleet's endpoint, ``<public_url>/mcp``."""
    url = public_url.rstrip("/") + "/mcp"
    quoted = shlex.quote(url)
    header = f'--header "Authorization: Bearer ${VARIABLE}"'
    cursor = {"url": url, "headers": {"Authorization": f"Bearer ${{env:{VARIABLE}}}"}}
    # A JSON string is a valid TOML basic string.
    codex = f'[mcp_servers.{NAME}]\nurl = {json.dumps(url)}\nbearer_token_env_var = "{VARIABLE}"\n'
    inspect = (
        f"npx @modelcontextprotocol/inspector --cli {quoted} --transport http {header} --method tools/list"
    )
    return Connect(
        url=url,
        variable=VARIABLE,
        claude_code=Snippet(
            format="shell",
            where="terminal",
            # Quoted so that the client expands the variable, each time it starts: the shell would write the secret
            # into the arguments and into the client's file.
            text=f"claude mcp add --transport http {NAME} {quoted} "
            f"--header 'Authorization: Bearer ${{{VARIABLE}}}'",
        ),
        cursor=_json("~/.cursor/mcp.json", {"mcpServers": {NAME: cursor}}),
        vscode=_json(".vscode/mcp.json", _vscode(url)),
        codex=Snippet(format="toml", where="~/.codex/config.toml", text=codex),
        claude_desktop=_json("claude_desktop_config.json", _claude_desktop(url)),
        inspector=Snippet(format="shell", where="terminal", text=inspect),
    )
