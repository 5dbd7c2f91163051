"""The few lines that ``scopegate dev`` prints when it is ready.

No secret is among them: the commands read them from ``dev.json``, so that no scroll-back or log holds one.
"""

import json
from pathlib import Path

from app.cli.dev_file import DevFile, path_in
from app.cli.openid import CLIENT_ID, SCOPES
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
Scopegate serves at {url} (console: {url}/console, REST API: {url}/docs, MCP: {mcp};
Ctrl-C stops it).
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

{_bearer(known)} |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["access_token"])')
  curl -s {url}/api/v1/me -H "Authorization: Bearer $BEARER"

Revoke {PERSON}'s token with it, then ask again:
  curl -s -X POST {url}/api/v1/tokens/{token_id(token)}/revoke \\
    -H "Authorization: Bearer $BEARER" -H "Content-Type: application/json" -d '{{"reason": "a trial"}}'

{_pages(known)}`make demo` in another terminal plays the whole story.
"""


def _bearer(known: DevFile) -> str:
    """How to get a bearer for the API: what becomes of the text that an endpoint answers comes after it."""
    if known.sign_in is None:
        return f"""Sign in to the API as the demo's service account:
  BEARER=$(curl -s {known.url}/oauth/token -d grant_type=client_credentials \\
    -u "$(dev_json '["client_id"]'):$(dev_json '["client_secret"]')\""""
    return f"""Sign in to the API as ada at the OpenID provider, {known.sign_in.issuer}
(she is an owner; grace is an admin, otto an auditor, nora signs in without a role, max not at all):
  BEARER=$(curl -s {known.sign_in.issuer}/oauth/token -d grant_type=password -d client_id={CLIENT_ID} \\
    -d "scope={" ".join(SCOPES)}" -d username=ada -d "password=$(dev_json '["oidc"]["passwords"]["ada"]')\""""


def _pages(known: DevFile) -> str:
    """The console, where there is a provider that people can sign in at."""
    if known.sign_in is None:
        return ""
    return f"""The console is at {known.url}/console: sign in as ada with this password:
  dev_json '["oidc"]["passwords"]["ada"]'

"""
