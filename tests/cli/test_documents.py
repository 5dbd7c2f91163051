"""What the documents name exists, and what exists is documented."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from app.cli.commands import app
from app.domain import errors
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
    documented = set(re.findall(r"^\| `([a-z-]+)` \|", reference("command-line"), re.MULTILINE))
    assert documented == scopegate_commands()


def test_every_setting_is_in_the_reference_and_no_other() -> None:
    documented = set(re.findall(r"^\| `SCOPEGATE_([A-Z_]+)`", reference("configuration"), re.MULTILINE))
    assert documented == {name.upper() for name in Settings.model_fields}


def test_every_problem_code_is_in_the_reference() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    raised = set(re.findall(r'\bcode="([a-z_]+)"', source))
    own = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
    own = {code for code in own if isinstance(code, str)} - {errors.DomainError.code}
    assert (raised | own) - set(re.findall(r'<a id="([a-z_]+)">', reference("errors"))) == set()


def test_every_recorded_action_is_in_the_reference() -> None:
    kinds = (
        "admin|administrator|break_glass|credential|grant|group|identity|identity_provider|mcp|server|"
        "server_credential|service_account|token|tool|tools"
    )
    places = [ROOT / "app" / room for room in ("features", "gateway", "lifespan", "adapters")]
    source = "\n".join(path.read_text() for place in places for path in place.rglob("*.py"))
    recorded = set(re.findall(rf'"((?:{kinds})\.[a-z_]+)"', source))
    assert recorded - set(re.findall(r"`([a-z_]+\.[a-z_]+)`", reference("audit-events"))) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text())
    broken = []
    for target in targets:
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
