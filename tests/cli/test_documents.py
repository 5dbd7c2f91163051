"""What the documents name exists, and what exists is documented."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from app.cli.commands import app
from app.domain import errors
from app.features.webhooks.messages import WebhookEvent
from app.kit.problems import Problem
from app.settings import Settings

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
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


def test_every_command_is_in_the_reference() -> None:
    # A command of several (`keys list`, `keys rotate`) has a row for each.
    documented = set(re.findall(r"^\| `([a-z-]+)(?: [a-z]+)?` \|", reference("command-line"), re.MULTILINE))
    assert documented == scopegate_commands()


def test_every_setting_is_in_the_reference_and_no_other() -> None:
    named = re.findall(r"^\| (`SCOPEGATE_[^|]+) \|", reference("configuration"), re.MULTILINE)
    documented = {name for cell in named for name in re.findall(r"`SCOPEGATE_([A-Z_]+)`", cell)}
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_problem_code_has_a_page() -> None:
    # What a check of a connection found is a code too, and no error.
    found = ROOT / "app" / "features" / "explaining" / "connection.py"
    source = "\n".join(path.read_text() for path in (ROOT / "app").rglob("*.py") if path != found)
    raised = set(re.findall(r'\bcode="([a-z_]+)"', source))
    own = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    own = {code for code in own if isinstance(code, str)} - {errors.DomainError.code}
    of_the_command_line = {"already_bootstrapped"}
    composed = {"external_id_taken", "user_name_taken", "too_many_streams", "too_many_exports"}
    transport = {
        "internal_error",
        "invalid_json",
        "malformed",
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


def test_every_recorded_action_is_in_the_reference() -> None:
    kinds = (
        "admin|administrator|approval|audit_sink|break_glass|completion|credential|grant|group|identity|identity_provider|mcp|policy|prompt|prompts|"
        "resource|resources|scim|server|server_credential|service_account|token|tool|tools|webhook"
    )
    places = [ROOT / "app" / room for room in ("features", "gateway", "lifespan", "adapters")]
    source = "\n".join(path.read_text() for place in places for path in place.rglob("*.py"))
    # What webhooks are told has names of the same form, and so have templates of pages.
    recorded = set(re.findall(rf'"((?:{kinds})\.(?!html)[a-z_]+)"', source)) - set(WebhookEvent)
    assert recorded - set(re.findall(r"`([a-z_]+\.[a-z_]+)`", reference("audit-events"))) == set()


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
