"""The few lines that ``scopegate dev`` prints when it is ready.

No secret is among them: the commands read them from ``dev.json``, so that no scroll-back or log holds one.
"""

import json
from pathlib import Path

from app.cli.dev_file import DevFile, path_in
from app.cli.seed import AGENT, PERSON, token_id

_VERSION = "2026-07-28"
_LIST_TOOLS = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/list",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": _VERSION,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    },
}


def welcome(known: DevFile, data_dir: Path, repository: Path) -> str:
    """Where it serves, how to connect, and how to revoke: commands for a POSIX shell that work as they stand."""
    url, mcp = known.url, f"{known.url}/mcp"
    token = known.tokens[PERSON]
    return f"""
Scopegate serves at {url} (REST API: {url}/docs, MCP: {mcp}; Ctrl-C stops it).
{PERSON} may read the servers git and time. {AGENT}, her agent, may also commit in
{repository}

Connect an MCP client as {PERSON}:
  dev_json() {{ python3 -c "import json; print(json.load(open('{path_in(data_dir)}'))$1)"; }}
  TOKEN=$(dev_json '["demo"]["tokens"]["{PERSON}"]')
  claude mcp add --transport http scopegate {mcp} --header "Authorization: Bearer $TOKEN"

Or see with curl what she sees:
  curl -s {mcp} -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
    -H "Accept: application/json, text/event-stream" -H "MCP-Protocol-Version: {_VERSION}" \\
    -H "Mcp-Method: tools/list" -d '{json.dumps(_LIST_TOOLS)}'

Revoke her token, then ask again:
  BEARER=$(curl -s {url}/oauth/token -d grant_type=client_credentials \\
    -u "$(dev_json '["client_id"]'):$(dev_json '["client_secret"]')" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
  curl -s -X POST {url}/api/v1/tokens/{token_id(token)}/revoke \\
    -H "Authorization: Bearer $BEARER" -H "Content-Type: application/json" -d '{{"reason": "a trial"}}'

`make demo` in another terminal plays the whole story.
"""
