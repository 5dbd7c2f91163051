"""``scopegate dev``: everything on this machine, until Ctrl-C.

The supervisor owns the embedded database and has three children: ``scopegate serve``, the OpenID provider and the
bridge of the demo fleet. They end when it ends for any reason; the next run adopts the database of a killed
supervisor. The provider is Canaille on a loopback port, which allows a complete sign-in.

``<data dir>/dev.json`` is for programs that use a ``scopegate dev``. It contains secrets, among them the passwords of
the provider's people: mode 0600.

The welcome text is printed when all is ready. It contains no secrets: its commands read them from ``dev.json``, so
that no terminal history contains one.
"""

import contextlib
import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import typer

from app.cli import children
from app.cli.database import first_credential, maintain, usable_database
from app.cli.errors import CannotStart
from app.cli.seed import AGENT, PERSON, SERVERS, Api, ApiFault, Fleet, seed, token_id
from app.cli.signals import Stopped, bound_socket, hold_signals, signals_cancel, signals_stop
from app.settings import Settings

AUDIENCE = "scopegate"
CLIENT_ID = "scopegate-demo"
SCOPES = ("openid", "profile", "email", "groups")
ROLES = {"scopegate-owners": "owner", "scopegate-admins": "admin", "scopegate-auditors": "auditor"}
"""Roles by the provider's group that grants them."""
PEOPLE = "staff"
"""The group whose members become people without a role."""
_PEOPLE = {
    "ada": ("Ada Byron", ["scopegate-owners"]),
    "grace": ("Grace Murray", ["scopegate-admins"]),
    "otto": ("Otto Neurath", ["scopegate-auditors"]),
    "nora": ("Nora Barnacle", [PEOPLE]),
    "max": ("Max Brod", ["visitors"]),
}
_PROGRAM = Path(__file__).with_name("serve_canaille.py")
_ENVIRONMENT = "openid"


@dataclass(frozen=True, slots=True)
class SignIn:
    """The data that a program needs for signing in at the provider. Passwords are by user name."""

    issuer: str
    passwords: dict[str, str] = field(default_factory=dict, repr=False)


class OpenIdProvider:
    """The provider, prepared once per data directory; ``url`` is the service that people sign in to."""

    def __init__(self, data_dir: Path, url: str, passwords: Mapping[str, str]) -> None:
        """``passwords`` are the previous ones; people without one get one."""
        self._home = data_dir.absolute() / "demo"
        self._home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._port = children.free_port(self._home / f"{_ENVIRONMENT}.port")
        self._url = url
        issuer = f"http://{children.LOOPBACK}:{self._port}"
        known = {name: passwords.get(name) or secrets.token_urlsafe(9) for name in _PEOPLE}
        self.sign_in = SignIn(issuer, known)

    def settings(self) -> dict[str, str]:
        """The service's environment variables that make it trust this provider."""
        return {
            "SCOPEGATE_OIDC_ISSUER": self.sign_in.issuer,
            "SCOPEGATE_OIDC_AUDIENCE": AUDIENCE,
            "SCOPEGATE_OIDC_CLIENT_ID": CLIENT_ID,
            "SCOPEGATE_OIDC_SCOPES": ",".join(SCOPES),
            "SCOPEGATE_OIDC_ROLE_MAP": json.dumps(ROLES),
            "SCOPEGATE_OIDC_PEOPLE": PEOPLE,
            # Canaille's access tokens contain no more than this.
            "SCOPEGATE_OIDC_TOKEN_TYPES": "JWT",
        }

    def prepare(self) -> None:
        """Install the provider, unless it is installed.

        Raises:
            CannotStart: ``uv`` is missing or failed.
        """
        children.make_environment(self._home, _ENVIRONMENT)

    def start(self) -> children.Child:
        """Start the provider on its port."""
        settings = {
            "issuer": self.sign_in.issuer,
            "url": self._url,
            "audience": AUDIENCE,
            "client_id": CLIENT_ID,
            "scopes": SCOPES,
            "redirects": [
                f"{self._url}/login/callback",
                f"{self._url}/docs/oauth2-redirect",
                f"http://{children.LOOPBACK}/callback",
            ],
            "signed_out": [f"{self._url}/signed-out"],
            "people": {
                name: {"name": full, "groups": groups, "password": self.sign_in.passwords[name]}
                for name, (full, groups) in _PEOPLE.items()
            },
        }
        return children.Child(
            "the OpenID provider",
            # -P: the modules next to the program are ours and would shadow its imports.
            [children.programs_of(self._home, _ENVIRONMENT) / "python", "-P", _PROGRAM],
            environment=children.plain_environment() | {"OPENID_PROVIDER": json.dumps(settings)},
            log=self._home / f"{_ENVIRONMENT}.log",
        )

    def answers(self) -> bool:
        """Whether the provider accepts connections."""
        return children.takes_connections(self._port)


@dataclass(frozen=True, slots=True)
class DevFile:
    """The address of the service, the credential of its first service account, the demo's tokens by name, and the
    sign-in; ``None`` if another provider is configured."""

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    servers: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict, repr=False)
    sign_in: SignIn | None = None

    def write(self, data_dir: Path) -> None:
        """Write the file atomically, at no moment readable by others."""
        content: dict[str, object] = {
            "url": self.url,
            "console_url": f"{self.url}/console",
            "mcp_url": f"{self.url}/mcp",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "demo": {"servers": self.servers, "tokens": self.tokens},
        }
        if self.sign_in is not None:
            content["oidc"] = {
                "issuer": self.sign_in.issuer,
                "client_id": CLIENT_ID,
                "scope": " ".join(SCOPES),
                "passwords": self.sign_in.passwords,
            }
        unfinished = data_dir / "dev.json.new"
        unfinished.unlink(missing_ok=True)
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path_in(data_dir))


def path_in(data_dir: Path) -> Path:
    """The path of the file in a data directory."""
    return data_dir.absolute() / "dev.json"


def read(data_dir: Path) -> DevFile | None:
    """Read the file of a data directory; ``None`` if there is none.

    Raises:
        CannotStart: it cannot be parsed.
    """
    path = path_in(data_dir)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        demo, oidc = content["demo"], content.get("oidc")
        return DevFile(
            url=content["url"],
            client_id=content["client_id"],
            client_secret=content["client_secret"],
            servers=list(demo["servers"]),
            tokens=dict(demo["tokens"]),
            sign_in=SignIn(oidc["issuer"], dict(oidc["passwords"])) if oidc else None,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise CannotStart(f"{path} cannot be read; remove it to create new credentials") from None


_VERSION = "2026-07-28"
_META = {
    "io.modelcontextprotocol/protocolVersion": _VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_LIST_TOOLS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": _META}}


def welcome(known: DevFile, data_dir: Path, repository: Path) -> str:
    """The address, how to connect, and how to revoke: commands that run unchanged in a POSIX shell."""
    url, mcp = known.url, f"{known.url}/mcp"
    token, console = known.tokens[PERSON], ""
    if known.sign_in is not None:
        console = f"""The console is at {url}/console: sign in as ada with this password:
  dev_json '["oidc"]["passwords"]["ada"]'

"""
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

{console}`make demo` in another terminal plays the whole story.
"""


def _bearer(known: DevFile) -> str:
    """The command that gets a bearer for the API; the caller appends how to read the response."""
    if known.sign_in is None:
        return f"""Sign in to the API as the demo's service account:
  BEARER=$(curl -s {known.url}/oauth/token -d grant_type=client_credentials \\
    -u "$(dev_json '["client_id"]'):$(dev_json '["client_secret"]')\""""
    return f"""Sign in to the API as ada at the OpenID provider, {known.sign_in.issuer}
(she is an owner; grace is an admin, otto an auditor, nora signs in without a role, max not at all):
  BEARER=$(curl -s {known.sign_in.issuer}/oauth/token -d grant_type=password -d client_id={CLIENT_ID} \\
    -d "scope={" ".join(SCOPES)}" -d username=ada -d "password=$(dev_json '["oidc"]["passwords"]["ada"]')\""""


_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_BETWEEN_LOOKS = 0.1
_DAY = 86_400.0
# The demo fleet listens on loopback, which upstreams otherwise may not.
_NETWORKS = "SCOPEGATE_UPSTREAM_ALLOWED_NETWORKS"
_ORIGINS = "SCOPEGATE_ALLOWED_ORIGINS"
_LOOPBACK = "127.0.0.0/8"


def dev(settings: Settings) -> None:
    """Serve with the demo fleet until SIGINT, SIGTERM or SIGHUP, then stop everything.

    Raises:
        CannotStart: it cannot start; with the reason in one line.
        DatabaseFault, EmbeddedPostgresError: the database cannot be used.
    """
    bound_socket(settings).close()
    with contextlib.suppress(Stopped), contextlib.ExitStack() as running, signals_stop():
        _run(settings, running)


def _run(settings: Settings, running: contextlib.ExitStack) -> None:
    data_dir = settings.data_dir.absolute()
    if read(data_dir) is None:
        typer.echo(f"Making the database and the demo fleet in {data_dir} ...")
    with hold_signals():
        # An interruption here would leave a new database without an owner.
        usable = running.enter_context(usable_database(settings))
    running.enter_context(_alone(data_dir))
    host = {"0.0.0.0": children.LOOPBACK, "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    fleet, provider = Fleet(data_dir), _provider(settings, url)
    started = []
    if provider is not None:
        # First, since the service fetches its keys.
        provider.prepare()
        started.append(_start(running, provider.start))
    started.append(_start(running, lambda: _service(settings, provider.settings() if provider else {})))
    fleet.prepare()
    started.append(_start(running, fleet.start))
    if provider is not None:
        _wait(started, provider.answers, "the OpenID provider")
    _wait(started, lambda: fleet.answers() and _is_ready(url), "the service and its demo fleet")
    known = _seed(usable, url, fleet, provider.sign_in if provider else None)
    typer.echo(welcome(known, data_dir, fleet.repository))
    next_maintenance = time.monotonic()
    while True:
        # The owner of a configured database maintains it; we may not have the owner's address.
        if usable.migration_database_url is not None and time.monotonic() >= next_maintenance:
            with signals_cancel():
                maintain(usable)
            next_maintenance += _DAY
        _look_after(started)
        time.sleep(_BETWEEN_LOOKS)


def _provider(settings: Settings, url: str) -> OpenIdProvider | None:
    """The provider for signing in; ``None`` if the settings name another."""
    if settings.oidc_issuer is not None:
        return None
    last = read(settings.data_dir)
    return OpenIdProvider(settings.data_dir, url, last.sign_in.passwords if last and last.sign_in else {})


def _seed(settings: Settings, url: str, fleet: Fleet, sign_in: SignIn | None) -> DevFile:
    """Sign in with the last credential or a new one, create what is missing, and write the file."""
    data_dir = settings.data_dir
    last = read(data_dir)
    tokens = last.tokens if last else {}
    try:
        api, credential = _sign_in(settings, url, last, sign_in)
        with api:
            tokens = seed(api, fleet, tokens)
    except ApiFault as fault:
        raise CannotStart(f"the demo cannot be set up: {fault}", code=1) from None
    known = DevFile(url, *credential, servers=list(SERVERS), tokens=tokens, sign_in=sign_in)
    known.write(data_dir)
    return known


def _sign_in(
    settings: Settings, url: str, last: DevFile | None, sign_in: SignIn | None
) -> tuple[Api, tuple[str, str]]:
    if last is not None:
        try:
            return Api(url, last.client_id, last.client_secret), (last.client_id, last.client_secret)
        except ApiFault:
            typer.echo("The credential in dev.json is no longer valid: creating another.")
    with signals_cancel():
        credential = first_credential(settings)
    # Written immediately: the secret is shown only now, and a later failure must not lose it.
    tokens = last.tokens if last else {}
    DevFile(url, *credential, tokens=tokens, sign_in=sign_in).write(settings.data_dir)
    return Api(url, *credential), credential


def _service(settings: Settings, additions: dict[str, str]) -> children.Child:
    hidden = ("SCOPEGATE_MIGRATION_DATABASE_URL", "SCOPEGATE_MIGRATION_DATABASE_URL_FILE")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    # The names of this machine that people type, in addition to the configured one.
    origins = f"http://localhost:{settings.port},http://{children.LOOPBACK}:{settings.port}"
    environment = {_NETWORKS: _LOOPBACK, _ORIGINS: origins} | additions | environment
    command = [sys.executable, "-m", "app.cli", "serve"]
    return children.Child("the service", command, environment=environment, grace_seconds=_STOP_SECONDS)


def _start(running: contextlib.ExitStack, start: Callable[[], children.Child]) -> children.Child:
    with hold_signals():
        child = start()
        running.callback(child.stop)
    return child


def _wait(started: Sequence[children.Child], done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not done():
        _look_after(started)
        if time.monotonic() > deadline:
            raise CannotStart(f"{what} did not become ready within {_READY_SECONDS:.0f} s", code=1)
        time.sleep(_BETWEEN_LOOKS)


def _look_after(started: Sequence[children.Child]) -> None:
    for child in started:
        if child.exit_code is not None:
            where = f"see {child.log}" if child.log else "the lines above say why"
            raise CannotStart(f"{child.name} ended with exit code {child.exit_code}: {where}", code=1)


def _is_ready(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/readyz", timeout=2, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


@contextlib.contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Allow only one ``scopegate dev`` per data directory; the lock ends with the process."""
    with (data_dir / "dev.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"scopegate dev already runs on {data_dir}: stop it, or set SCOPEGATE_DATA_DIR"
            ) from None
        yield
