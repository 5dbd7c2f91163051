"""What the documents name exists, and what exists is documented."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from app.access.explain import MEANINGS
from app.adapters.console import menu
from app.cli.commands import app
from app.db.webhook_events import WebhookEvent
from app.domain import errors
from app.http.authorization import ROLE_PERMISSIONS, Permission, Role
from app.http.problems import Problem
from app.settings import _SECRETS, Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "clients/python").glob("*.md")),
    *sorted(DOCS.rglob("*.md")),
]
DOCUMENTS += sorted((ROOT / "clients/python/docs").glob("*.md"))
# Decisions and past changes tell of what was.
OF_TODAY = [path for path in DOCUMENTS if path.parent.name != "adr" and path.name != "CHANGELOG.md"]
COMMANDS = re.compile(r"<!-- commands that exist: [^>]*-->\n```sh\n(.*?)```", re.DOTALL)


def scopegate_commands() -> set[str]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return set(group.commands)


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text()


def test_the_commands_of_the_readme_exist() -> None:
    blocks = COMMANDS.findall((ROOT / "README.md").read_text())
    lines = [line.split("#")[0].split() for block in blocks for line in block.splitlines() if line.strip()]
    assert lines
    known = {"make": make_targets(), "scopegate": scopegate_commands()}
    assert [line for line in lines if len(line) != 2 or line[1] not in known[line[0]]] == []


@pytest.mark.parametrize("page", OF_TODAY, ids=lambda page: page.name)
def test_no_command_hides_what_the_service_says_of_an_error(page: Path) -> None:
    # `--fail-with-body` fails as well, and shows the problem document.
    hiding = re.findall(
        r"curl\b[^\n|]*? (?:-[a-zA-Z]*f[a-zA-Z]*|--fail)(?= |$)", page.read_text(), re.MULTILINE
    )
    assert hiding == []


def test_every_command_is_in_the_reference() -> None:
    # A command of several (`keys list`, `keys rotate`) has a row for each.
    documented = set(re.findall(r"^\| `([a-z-]+)(?: [a-z]+)?` \|", reference("command-line"), re.MULTILINE))
    assert documented == scopegate_commands()


def settings_rows() -> list[list[str]]:
    """Of each row of a table of settings its cells, the names first."""
    rows = re.findall(r"^\| (`SCOPEGATE_.*) \|$", reference("configuration"), re.MULTILINE)
    return [row.split(" | ") for row in rows]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`SCOPEGATE_([A-Z_]+)`", cell)


def test_every_setting_is_in_the_reference_and_no_other() -> None:
    documented = {name for row in settings_rows() for name in names_in(row[0])}
    assert documented == {name.upper() for name in Settings.model_fields}


def test_the_settings_that_a_file_may_hold_are_those_marked_secret() -> None:
    marked = {name for row in settings_rows() if "*secret*" in row[0] for name in names_in(row[0])}
    assert marked == {name.upper() for name in _SECRETS}


def test_the_defaults_in_the_reference_are_those_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SCOPEGATE_{name.upper()}", raising=False)
    # Another setting is the default of these, or what is made of others.
    derived = {"DATABASE_URL", "HOST:PORT"}
    without, expected, compared = {"none", "embedded"}, Settings(), 0
    # Keys have no default, and a table without that column.
    for names, default, *_ in (row for row in settings_rows() if len(row) > 2):
        values = [cell.strip() for cell in re.sub(r"`([^`]*)`(, )?", r"\1\n", default).splitlines()]
        for name, value in zip(names_in(names), values, strict=True):
            field = name.lower()
            if value in without or any(word in value for word in derived):
                assert not getattr(expected, field), name
                continue
            monkeypatch.setenv(f"SCOPEGATE_{name}", value)
            assert getattr(Settings(), field) == getattr(expected, field), name
            compared += 1
    assert compared > 30


def test_every_problem_code_has_a_page() -> None:
    # What a check of a connection found is a code too, and no error.
    found = ROOT / "app" / "features" / "tokens" / "connection_check.py"
    source = "\n".join(path.read_text() for path in (ROOT / "app").rglob("*.py") if path != found)
    raised = set(re.findall(r'\bcode="([a-z_]+)"', source))
    own = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    own = {code for code in own if isinstance(code, str)} - {errors.DomainError.code}
    of_the_command_line = {"already_bootstrapped"}
    composed = {"external_id_taken", "user_name_taken", "too_many_streams", "too_many_exports"}
    transport = {
        "internal_error",
        "invalid_json",
        "malformed_request",
        "method_not_allowed",
        "unsupported_media_type",
    }
    pages = {path.stem for path in (DOCS / "errors").glob("*.md")}
    assert pages == (raised | own | composed | transport | {"body_too_large"}) - of_the_command_line
    assert set(re.findall(r"\(\.\./errors/([a-z_]+)\.md\)", reference("errors"))) == pages


@pytest.mark.parametrize("page", sorted((DOCS / "errors").glob("*.md")), ids=lambda page: page.stem)
def test_the_page_of_a_problem_code_shows_such_a_problem(page: Path) -> None:
    text = page.read_text()
    assert text.startswith(f"# `{page.stem}`\n")
    assert "\n## What to do\n" in text
    found = re.search(r"```json\n(.*?)```", text, re.DOTALL)
    assert found is not None
    example = Problem.model_validate_json(found[1])
    assert (example.code, example.type) == (page.stem, f"/docs/errors/{page.stem}")
    assert f"**{example.status} {example.title}.**" in text


def test_every_recorded_action_is_in_the_reference_and_no_other() -> None:
    table = reference("audit-events").partition("## Actions")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", table))
    kinds = "|".join({action.partition(".")[0] for action in documented})
    rooms = ("features", "access", "admission", "gateway", "worker", "adapters", "db")
    places = [ROOT / "app" / room for room in rooms]
    source = "\n".join(path.read_text() for place in places for path in place.rglob("*.py"))
    # Permissions, webhook events, the item of sinks that is no event, and templates have such names, too.
    others = {*WebhookEvent, *Permission, "audit.checkpoint"}
    named = set(re.findall(rf'"((?:{kinds})\.(?!html)[a-z_]+)"', source))
    assert named - others - documented == set()
    assert documented - named == set()


def test_the_roles_in_the_reference_may_what_they_may() -> None:
    table = re.findall(r"^\| (.*) \|$", reference("roles"), re.MULTILINE)
    roles = re.findall(r"`([a-z]+)`", table[0])
    assert roles == list(Role)
    documented: dict[str, set[str]] = {role: set() for role in roles}
    for name, *cells in (row.split(" | ") for row in table[1:]):
        for role, cell in zip(roles, cells, strict=False):
            if cell.strip():
                documented[role].add(name.strip("`"))
    assert documented == {role: set(permissions) for role, permissions in ROLE_PERMISSIONS.items()}


def test_every_page_of_the_menu_and_every_reason_is_in_the_reference() -> None:
    pages = [entry.path for entries in menu._GROUPS.values() for entry in entries]
    assert [path for path in pages if f"`{path}`" not in reference("console")] == []
    assert [reason for reason in MEANINGS if f"`{reason}`" not in reference("audit-events")] == []


def requests_in(text: str) -> Iterator[tuple[str | None, str, list[str]]]:
    """The requests to the API that a document shows: method, if it says one, path, and names in the query."""
    found = r"(?:\b(GET|POST|PUT|PATCH|DELETE) |-X (GET|POST|PUT|PATCH|DELETE) \"\$URL)?(/api/v1/[a-z][^\s`\"')|,;*]*)"
    for match in re.finditer(found, text):
        path, _, query = match[3].partition("?")
        # A name in braces, dollars or angles stands for an id, and so does an id that is not written out.
        path = re.sub(r"\{[^}]*\}|\$[A-Z_]+|<[a-z_]+>?|\b[a-z]+_\.{3}", "x", path).rstrip(".")
        yield match[1] or match[2], path, re.findall(r"(?:^|&)([a-z_]+)=", query)


@pytest.mark.parametrize("document", OF_TODAY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_requests_that_documents_show_can_be_made(document: Path) -> None:
    paths = json.loads((ROOT / "openapi/openapi.json").read_text())["paths"]
    wrong = []
    for method, path, names in requests_in(document.read_text()):
        fitting = [
            operation
            for template, operations in paths.items()
            if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path)
            for verb, operation in operations.items()
            if method is None or verb == method.lower()
        ]
        known = {parameter["name"] for operation in fitting for parameter in operation.get("parameters", [])}
        if not fitting or not known.issuperset(names):
            wrong.append((method, path, names))
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    broken = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("/docs"):
            continue
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_decision_record_is_cited_by_the_code_that_rests_on_it() -> None:
    records = {int(path.name[:4]) for path in (DOCS / "adr").glob("0*.md")}
    sources = [
        ROOT / "Makefile",
        *(ROOT / "app").rglob("*.py"),
        *(ROOT / "clients" / "python" / "src").rglob("*.py"),
    ]
    sources += [*(ROOT / "tests" / "faults" / "rig").glob("*.py"), *(ROOT / "tests" / "house").glob("*.py")]
    cited = {int(number) for path in sources for number in re.findall(r"\bADR (\d+)\b", path.read_text())}
    assert cited == records
    index = re.findall(r"^\| (\d+) \| \[", (DOCS / "adr" / "README.md").read_text(), re.MULTILINE)
    assert sorted(map(int, index)) == sorted(records)
