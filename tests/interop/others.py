"""Third-party programs for the tests: their installation, and the start of their servers."""

import asyncio
import fcntl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from app.cli.children import make_environment, plain_environment, programs_of
from tests.npm import find_node, install
from tests.ports import free_port
from tests.serving import listener

HERE = Path(__file__).parent
FOREIGN = HERE / "foreign"
"""Programs that run in third-party environments."""
NODE = 22
EVERYTHING = HERE / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"

_LOCKS = HERE / "requirements"
_HOME = Path(sys.prefix) / "interop"


def installed(name: str, locks: Path = _LOCKS) -> Path:
    """Return the folder of the programs of ``<name>.lock``, installed once for all workers and sessions."""
    _HOME.mkdir(exist_ok=True)
    with (_HOME / f"{name}.held").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        make_environment(_HOME, name, locks)
    return programs_of(_HOME, name, locks)


def installed_for_all(place: Path, name: str, locks: Path = _LOCKS) -> None:
    """Install ``<name>.lock`` into ``place / name``, with the Python of the system: other users can run that."""
    uv, target = Path(sys.executable).with_name("uv"), place / name
    system = Path("/usr/bin/python3")
    python = system if system.exists() else Path(sys.executable)
    make = [str(uv), "venv", "--quiet", "--python", str(python), str(target)]
    install = [str(uv), "pip", "install", "--system-certs", "--quiet", "--python", str(target / "bin/python")]
    for command in (make, [*install, "--require-hashes", "-r", str(locks / f"{name}.lock")]):
        subprocess.run(command, check=True)


def python_of(name: str) -> Path:
    """The interpreter of an environment of ``requirements``."""
    return installed(name) / "python"


def node() -> Path:
    """A Node that runs what ``package.json`` names, which is installed next to this file."""
    install(HERE, "what others made")
    return Path(find_node(HERE, NODE, "what others made"))


def environment(**more: str) -> dict[str, str]:
    """Return environment variables for a program, with the Node of the packages first."""
    plain = plain_environment()
    own = f"{node().parent}:{HERE / 'node_modules/.bin'}"
    return {**plain, "PATH": f"{own}:{plain['PATH']}", **more}


@contextmanager
def python_server(name: str) -> Iterator[str]:
    """Run ``foreign/server_<name>.py`` in the environment ``<name>``; yields its URL."""
    # It inherits a listening socket, so that it is reachable immediately.
    with listener() as sock:
        command: list[str | Path] = [python_of(name), FOREIGN / f"server_{name}.py", str(sock.fileno())]
        with subprocess.Popen(
            command,
            env=plain_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[sock.fileno()],
        ) as process:
            try:
                yield f"http://127.0.0.1:{sock.getsockname()[1]}/mcp"
            finally:
                process.kill()


@asynccontextmanager
async def everything_server() -> AsyncIterator[str]:
    """Run npm's ``server-everything``; yields its URL."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        node(),
        EVERYTHING,
        "streamableHttp",
        env=environment(PORT=str(port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(50):
            while b"listening" not in (line := await process.stderr.readline()):
                assert line, "it ended"
        draining = asyncio.create_task(process.stderr.read())
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        await process.wait()
    await draining


async def run(*command: str | Path, cwd: Path, env: dict[str, str], within_s: float = 60) -> str:
    """Run a program to its end; returns its output."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(within_s):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode()
