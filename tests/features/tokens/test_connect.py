"""The settings for clients are ready to paste and hold no secret."""

import json
import shlex
import tomllib

from app.features.tokens.schemas import connect_settings

URL = "https://gate.example.com/mcp"


def test_each_client_is_sent_to_the_fleet_with_a_header_it_fills_in() -> None:
    connect = connect_settings("https://gate.example.com/")
    assert connect.url == URL
    claude = shlex.split(connect.claude_code.text)
    assert claude[:3] == ["claude", "mcp", "add"]
    assert claude[-3:] == [URL, "--header", "Authorization: Bearer ${SCOPEGATE_TOKEN}"], (
        "the client expands it, not the shell"
    )
    cursor = json.loads(connect.cursor.text)["mcpServers"]["scopegate"]
    assert cursor == {"url": URL, "headers": {"Authorization": "Bearer ${env:SCOPEGATE_TOKEN}"}}
    vscode = json.loads(connect.vscode.text)
    assert vscode["inputs"][0]["password"] is True
    assert vscode["servers"]["scopegate"]["headers"]["Authorization"] == "Bearer ${input:SCOPEGATE_TOKEN}"
    codex = tomllib.loads(connect.codex.text)["mcp_servers"]["scopegate"]
    assert codex == {"url": URL, "bearer_token_env_var": "SCOPEGATE_TOKEN"}
    desktop = json.loads(connect.claude_desktop.text)["mcpServers"]["scopegate"]
    assert desktop["args"][:3] == ["-y", "mcp-remote", URL]
    inspector = shlex.split(connect.inspector.text)
    assert inspector[-2:] == ["--method", "tools/list"]
    assert URL in inspector


def test_a_plain_url_is_said_to_be_meant() -> None:
    desktop = json.loads(connect_settings("http://127.0.0.1:8080").claude_desktop.text)
    assert "--allow-http" in desktop["mcpServers"]["scopegate"]["args"]
    assert "--allow-http" not in connect_settings("https://gate.example.com").claude_desktop.text
