"""The demo fleet of ``scopegate dev`` and its data, created through the REST API where it is missing.

The fleet consists of real MCP servers from PyPI that use a small repository. ``mcp-server-time`` and ``mcp-server-git``
use stdio; ``mcp-proxy`` bridges them to streamable HTTP on a loopback port. The bridge and the servers need different
versions of the MCP SDK, so each has its own environment.
"""

import contextlib
import os
import shlex
import shutil
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import httpx2

from app.cli import children
from app.cli.errors import CannotStart
from app.domain.token_format import SCOPED_TOKEN, parse_credential
from app.lib.ids import format_id

Json = dict[str, Any]


class ApiFault(Exception):
    """The API refused or did not respond; one line with the request and the reason."""


class Api:
    """A blocking client that is signed in to a running service."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        """Sign in. Raises ``ApiFault`` if the service does not respond or refuses the credential."""
        # trust_env: requests to this machine must not use a proxy from the environment.
        self._http = httpx2.Client(base_url=url, timeout=30, trust_env=False)
        form, client = {"grant_type": "client_credentials"}, httpx2.BasicAuth(client_id, client_secret)
        answer = self._send("POST", "/oauth/token", data=form, auth=client)
        self._http.headers["Authorization"] = f"Bearer {answer['access_token']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._http.close()

    def get(self, path: str, **parameters: str | int) -> Json:
        """Read one object or one page."""
        return self._send("GET", f"/api/v1{path}", params=parameters)

    def every(self, path: str, **parameters: str | int) -> list[Json]:
        """Read all pages of a list."""
        items: list[Json] = []
        page: Json = {"next_cursor": None}
        while True:
            more = {"cursor": page["next_cursor"]} if page["next_cursor"] else {}
            page = self.get(path, limit=200, **parameters, **more)
            items += page["items"]
            if not page["next_cursor"]:
                return items

    def post(self, path: str, body: Json | None = None) -> Json:
        """Create an object or run an action."""
        return self._send("POST", f"/api/v1{path}", json=body if body is not None else {})

    def patch(self, path: str, body: Json) -> Json:
        """Change the members in ``body``."""
        return self._send("PATCH", f"/api/v1{path}", json=body)

    def put(self, path: str) -> Json:
        """Create or replace."""
        return self._send("PUT", f"/api/v1{path}")

    def _send(self, method: str, path: str, **options: Any) -> Json:
        try:
            answer = self._http.request(method, path, **options)
        except httpx2.HTTPError as error:
            why = str(error) or type(error).__name__
            raise ApiFault(f"no answer from {self._http.base_url}: {why}") from None
        if not answer.is_success:
            raise ApiFault(f"{method} {path} answered {answer.status_code}: {_reason(answer)}")
        return answer.json() if answer.content else {}


def _reason(answer: httpx2.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return answer.reason_phrase
    details = [str(problem.get("detail") or problem.get("error_description") or problem.get("title") or "")]
    details += [f"{error.get('pointer')}: {error.get('detail')}" for error in problem.get("errors") or []]
    return " ".join(" ".join(details).split())


SERVERS = {"time": "Clock and time zones", "git": "A small git repository"}
"""Slug and description of each server."""
_BRIDGE_GRACE_SECONDS = 2.0  # It may ignore SIGTERM for minutes while a stream is open.
_AUTHOR = {
    "GIT_AUTHOR_NAME": "Scopegate demo",
    "GIT_AUTHOR_EMAIL": "demo@example.com",
    "GIT_COMMITTER_NAME": "Scopegate demo",
    "GIT_COMMITTER_EMAIL": "demo@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
_HISTORY = (
    ("Begin the runbook", "runbook.md", "# Runbook\n\nHow we deploy, and what to do when it goes wrong.\n"),
    (
        "Say how to deploy",
        "deploy.md",
        "# Deploy\n\n1. Tag the release.\n2. Wait for the checks.\n3. Roll out.\n",
    ),
    ("List the owners", "owners.txt", "runbook.md  maria\ndeploy.md   deploy-agent\n"),
)


class Fleet:
    """The servers, prepared once per data directory and run by one bridge."""

    def __init__(self, data_dir: Path) -> None:
        self._home = data_dir.absolute() / "demo"
        self.repository = self._home / "repository"
        self._port = 0
        self._bridge: children.Child | None = None

    def url(self, slug: str) -> str:
        """The address at which the bridge serves one server over streamable HTTP."""
        return f"http://{children.LOOPBACK}:{self._port}/servers/{slug}/mcp"

    def prepare(self) -> None:
        """Create what is missing: both environments and the repository.

        Raises:
            CannotStart: ``uv`` or ``git`` is missing or failed.
        """
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("bridge", "servers"):
            children.make_environment(self._home, name)
        self._make_repository()

    def start(self) -> children.Child:
        """Start the bridge on the last port if it is free, so that registered addresses stay valid."""
        self._port = children.free_port(self._home / "port")
        servers = children.programs_of(self._home, "servers")
        time = shlex.join([str(servers / "mcp-server-time"), "--local-timezone", "UTC"])
        git = shlex.join([str(servers / "mcp-server-git"), "--repository", str(self.repository)])
        listen = ["--host", children.LOOPBACK, "--port", str(self._port), "--pass-environment"]
        named = ["--named-server", "time", time, "--named-server", "git", git]
        self._bridge = children.Child(
            "the demo fleet",
            [children.programs_of(self._home, "bridge") / "mcp-proxy", *listen, *named],
            environment=children.plain_environment() | _AUTHOR,
            log=self._home / "bridge.log",
            grace_seconds=_BRIDGE_GRACE_SECONDS,
            farewell=signal.SIGKILL,
        )
        return self._bridge

    def answers(self) -> bool:
        """Whether the bridge accepts connections, which it does after every server has started."""
        return children.takes_connections(self._port)

    def _make_repository(self) -> None:
        if (self.repository / ".git").exists():
            return
        if shutil.which("git") is None:
            raise CannotStart("the demo fleet needs git: apt-get install git")
        # Created under a temporary name, so that an incomplete repository is never used.
        unfinished = self.repository.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        environment = children.plain_environment() | _AUTHOR
        children.run(["git", "init", "--quiet", "--initial-branch=main", unfinished], environment)
        for message, name, content in _HISTORY:
            (unfinished / name).write_text(content, encoding="utf-8")
            children.run(["git", "-C", unfinished, "add", name], environment)
            children.run(["git", "-C", unfinished, "commit", "--quiet", "-m", message], environment)
        unfinished.rename(self.repository)


PERSON = "maria"
AGENT = "deploy-agent"
READING = {
    "git": "git_status git_log git_diff git_diff_staged git_diff_unstaged git_show git_branch".split(),
    "time": ["get_current_time", "convert_time"],
}
COMMITTING = {"git": [*READING["git"], "git_add", "git_commit"], "time": ["get_current_time"]}
_GROUP = "readers"
_TOKEN_LIFE = timedelta(days=30)


def seed(api: Api, fleet: Fleet, tokens: dict[str, str]) -> dict[str, str]:
    """Create missing servers, people, grants and tokens; return the tokens by name.

    ``tokens`` are the previous ones: a valid token is kept, any other is replaced.

    Raises:
        ApiFault: the API refused a step.
        CannotStart: a server of the fleet could not be read.
    """
    servers = {slug: _server(api, slug, about, fleet.url(slug)) for slug, about in SERVERS.items()}
    maria = _identity(api, {"kind": "person", "user_name": PERSON, "display_name": "Maria Keller"})
    deployer = {"kind": "agent", "user_name": AGENT, "display_name": "Deploy agent", "owner_id": maria}
    agent = _identity(api, deployer)
    group = _group(api, maria)
    for slug, tools in READING.items():
        _grant(api, {"type": "group", "id": group}, servers[slug], tools, "Readers may look at everything")
    for slug, tools in COMMITTING.items():
        _grant(api, {"type": "identity", "id": agent}, servers[slug], tools, "The deploy agent may commit")
    return {
        name: _token(api, identity, name, tokens.get(name))
        for name, identity in ((PERSON, maria), (AGENT, agent))
    }


def token_id(secret: str) -> str | None:
    """The ``tok_`` id in the text of a scoped token; ``None`` for other texts."""
    credential = parse_credential(secret, SCOPED_TOKEN)
    return format_id("tok", credential.id) if credential else None


def _server(api: Api, slug: str, description: str, url: str) -> str:
    server = _find(api.every("/servers"), "slug", slug)
    if server is None:
        body: Json = {"slug": slug, "name": slug, "description": description, "url": url}
        server = api.post("/servers", body | {"transport": "streamable_http"})
    elif server["url"] != url:
        server = api.patch(f"/servers/{server['id']}", {"url": url})
    server = api.post(f"/servers/{server['id']}/sync")
    while server["sync"]["state"] == "running":
        time.sleep(0.2)
        server = api.get(f"/servers/{server['id']}")
    if server["sync"]["state"] == "error":
        raise CannotStart(f"the demo server {slug} could not be read: {server['sync']['error']}")
    return str(server["id"])


def _identity(api: Api, body: Json) -> str:
    known = _find(api.every("/identities", q=body["user_name"]), "user_name", body["user_name"])
    return str((known or api.post("/identities", body))["id"])


def _group(api: Api, member: str) -> str:
    known = _find(api.every("/groups", q=_GROUP), "name", _GROUP)
    if known is not None:
        return str(known["id"])
    group = api.post("/groups", {"name": _GROUP, "description": "People who may look"})
    api.put(f"/groups/{group['id']}/members/{member}")
    return str(group["id"])


def _grant(api: Api, principal: Json, server: str, tools: list[str], reason: str) -> None:
    selector = {"kind": "ids", "ids": [server]}
    known = [grant for grant in api.every("/grants") if grant["principal"]["id"] == principal["id"]]
    # A grant that was narrowed since stays as it is.
    if any(grant["servers"] == selector for grant in known):
        return
    selected = {"servers": selector, "tools": {"kind": "names", "names": tools}}
    api.post("/grants", {"principal": principal, **selected, "reason": reason})


def _token(api: Api, identity: str, name: str, last: str | None) -> str:
    id = None if last is None else token_id(last)
    if last is not None and id is not None:
        with contextlib.suppress(ApiFault):
            if api.get(f"/tokens/{id}")["status"] == "active":
                return last
    expires_at = datetime.now(UTC) + _TOKEN_LIFE  # noqa: TID251 - a client
    wanted: Json = {"identity_id": identity, "name": name, "scope": {"kind": "grants"}}
    return str(api.post("/tokens", wanted | {"expires_at": expires_at.isoformat()})["secret"])


def _find(objects: list[Json], field: str, value: str) -> Json | None:
    return next((each for each in objects if each[field] == value), None)
