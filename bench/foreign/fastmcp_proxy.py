"""FastMCP's proxy with its token verifier, in its fastest configuration. It runs in FastMCP's own environment.

``python fastmcp_proxy.py PORT UPSTREAM_PORT TOKENS``; the last is a file with a token in each line.
"""

import asyncio
import sys
from pathlib import Path

import uvicorn
from fastmcp import Client
from fastmcp.server import create_proxy
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier


async def main(port: int, upstream_port: int, tokens: list[str]) -> None:
    """Serve until stopped."""
    known = {token: {"client_id": "bench", "scopes": []} for token in tokens}
    # A connected client uses one upstream session for all calls. Otherwise the proxy opens one per call.
    async with Client(f"http://127.0.0.1:{upstream_port}/mcp") as client:
        proxy = create_proxy(client, name="bench", auth=StaticTokenVerifier(known))
        app = proxy.http_app(path="/mcp", json_response=True, stateless_http=True)
        settings = uvicorn.Config(
            app, port=port, loop="uvloop", http="httptools", ws="none", log_level="warning", access_log=False
        )
        await uvicorn.Server(settings).serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).read_text().split()))
