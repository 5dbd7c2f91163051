"""The recipes of CONTRIBUTING.md lead to a working change, in the files that they name."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.tracked import ROOT, tracked

MODEL, SCHEMAS = Path("app/models/access.py"), Path("app/features/grants/schemas.py")
MIGRATION = "alembic/versions/{number}_grant_note.py"
TEST = "tests/features/grants/test_note.py"
ADDED_LINES = {
    MODEL: [("    reason: str | None = None\n    approval_id: UUID", "    note: str | None = None\n", 1)],
    SCHEMAS: [
        ("    reason: LongText | None = None\n", "    note: LongText | None = None\n", 2),
        (
            '    reason: str | None = Field(description="The reason for the grant.")\n',
            '    note: str | None = Field(description="A note for reviewers.")\n',
            1,
        ),
        ('            "approval_id": None,\n', '            "note": None,\n', 1),
    ],
}
MIGRATION_TEXT = '''"""Add a note to grants."""

from alembic import op

revision = "{number}"
down_revision = "{head}"


def upgrade() -> None:
    op.get_bind().exec_driver_sql("ALTER TABLE grants ADD COLUMN note varchar")
'''
TEST_TEXT = '''"""The note of a grant."""

import httpx2

from tests.features.principals import Sessions, events, grant, person


async def test_a_note_is_stored_changed_and_recorded(api: httpx2.AsyncClient, sessions: Sessions) -> None:
    created = await grant(api, await person(api), note="until the audit")
    path = f"/api/v1/grants/{created['id']}"
    assert (await api.get(path)).json()["note"] == created["note"] == "until the audit"
    assert (await api.patch(path, json={"note": None})).json()["note"] is None
    assert (await events(sessions, created))[-1] == (
        "grant.update", {"note": {"from": "until the audit", "to": None}},
    )
'''


def recipe(title: str) -> str:
    """The text of a recipe."""
    [text] = re.findall(
        rf"^## {title}\n(.*?)(?=^## |\Z)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL
    )
    return str(text)


def copy_repository(to: Path) -> None:
    """Copy the tracked files."""
    for source in tracked():
        target = to / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def add_lines(file: Path, additions: list[tuple[str, str, int]]) -> None:
    """Add each line after its anchor, which occurs so many times; within an anchor, after its first line."""
    content = file.read_text()
    for anchor, line, count in additions:
        assert content.count(anchor) == count, anchor
        first = anchor.splitlines(keepends=True)[0]
        content = content.replace(anchor, first + line + anchor.removeprefix(first))
    file.write_text(content)


@pytest.mark.slow
def test_the_recipe_for_a_field_leads_to_one_in_three_files(tmp_path: Path) -> None:
    """A nullable text field of grants: the model, the schemas and a migration; the service takes it from them."""
    steps = recipe("Add a field")
    assert len(re.findall(r"^\d+\. ", steps, re.MULTILINE)) <= 6
    for named in ("app/models/<subject>.py", "a migration", "app/features/<resource>/schemas.py"):
        assert named in steps
    copy_repository(tmp_path)
    for file, additions in ADDED_LINES.items():
        add_lines(tmp_path / file, additions)
    head = max(path.name.partition("_")[0] for path in (ROOT / "alembic/versions").glob("[0-9]*.py"))
    number = f"{int(head) + 1:04}"
    (tmp_path / MIGRATION.format(number=number)).write_text(MIGRATION_TEXT.format(head=head, number=number))
    (tmp_path / TEST).write_text(TEST_TEXT)
    checks = [TEST, "tests/features/grants/test_grants.py", "tests/db/test_migrations.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *checks]
    result = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.mark.parametrize(
    "title", ["Add a REST resource", "Add a field", "Add a gateway method", "Add a console page"]
)
def test_every_recipe_has_at_most_six_steps_and_names_what_exists(title: str) -> None:
    steps = recipe(title)
    assert 1 <= len(re.findall(r"^\d+\. ", steps, re.MULTILINE)) <= 6
    for name in re.findall(r"`((?:app|alembic|docs|tests)/[^`]*)`", steps):
        fixed, placeholder, _ = name.partition("<")
        assert (ROOT / (fixed.rpartition("/")[0] if placeholder else fixed)).exists(), name
