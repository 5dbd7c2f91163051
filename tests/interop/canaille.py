"""Canaille, a third-party identity provider with OpenID sign-in and SCIM provisioning."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from app.cli.children import plain_environment
from tests.interop.others import FOREIGN, python_of

AUDIENCE = "scopegate"


@dataclass(frozen=True, slots=True)
class Canaille:
    """The running provider. Each change is pushed when its method returns."""

    issuer: str
    _process: asyncio.subprocess.Process

    async def save_user(self, user_name: str, **fields: Any) -> None:
        """Create or change a person. Fields are Canaille's (``display_name``, ``emails`` ...) and ``locked``."""
        await self._change("save_user", user_name, **fields)

    async def delete_user(self, user_name: str) -> None:
        await self._change("delete_user", user_name)

    async def save_group(self, name: str, members: list[str], new_name: str | None = None) -> None:
        """Create or change a group: its members by user name, and its new name."""
        await self._change("save_group", name, members=members, new_name=new_name)

    async def delete_group(self, name: str) -> None:
        await self._change("delete_group", name)

    async def access_token(self, user_name: str, password: str) -> str:
        """Return a credential for signing in to the API."""
        form = {
            "grant_type": "password",
            "client_id": AUDIENCE,
            "scope": "openid profile email groups",
            "username": user_name,
            "password": password,
        }
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(f"{self.issuer}/oauth/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def _change(self, name: str, *arguments: Any, **fields: Any) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps([name, arguments, fields])}\n".encode())
        async with asyncio.timeout(60):
            line = await self._process.stdout.readline()
        assert line, "it ended"
        # It only logs failed pushes.
        assert json.loads(line) == []


@asynccontextmanager
async def canaille(sock: socket.socket, scim_url: str, bearer: str) -> AsyncIterator[Canaille]:
    """Run it on a listening loopback socket; it pushes to ``scim_url``."""
    wanted = {"scim_url": scim_url, "bearer": bearer, "audience": AUDIENCE}
    process = await asyncio.create_subprocess_exec(
        python_of("canaille"),
        FOREIGN / "provider_canaille.py",
        str(sock.fileno()),
        env=plain_environment() | {"PROVIDER": json.dumps(wanted)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=[sock.fileno()],
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"ready\n"
        yield Canaille(f"http://127.0.0.1:{sock.getsockname()[1]}", process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
