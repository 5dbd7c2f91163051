"""The documentation of policies matches the code: vocabulary, examples, codes and commands."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from app.access.policy.checking import KnownTool, check_types
from app.access.policy.text import read_statement, text_warnings
from app.access.policy.vocabulary import VERSION, schema_text
from app.domain.arguments import ArgumentKind, ArgumentType
from app.features.policies.schemas import EXAMPLE_TEXT
from tests.api import Account
from tests.clients.live import running

ROOT = Path(__file__).parents[3]
REFERENCE = (ROOT / "docs" / "policy-reference.md").read_text()
HOW_TO = (ROOT / "docs" / "how-to" / "write-a-policy.md").read_text()
EXAMPLES = re.findall(r"^```cedar\n(.*?)^```$", REFERENCE, re.DOTALL | re.MULTILINE)
COMMANDS = re.findall(r"<!-- commands that run: [^>]*-->\n```sh\n(.*?)```", HOW_TO, re.DOTALL)
STRING = ArgumentType(ArgumentKind.STRING)
TOOLS = [
    KnownTool(
        "payments",
        "refund",
        "destructive",
        {"amount": ArgumentType(ArgumentKind.INTEGER, required=True), "account": STRING},
    ),
    KnownTool("files", "read", "read", {"path": STRING}),
]


def test_the_reference_has_the_very_vocabulary() -> None:
    blocks = re.findall(r"^```cedarschema\n(.*?)^```$", REFERENCE, re.DOTALL | re.MULTILINE)
    assert blocks == [schema_text()]
    assert f"**version {VERSION}**" in REFERENCE


@pytest.mark.parametrize("text", [*EXAMPLES, EXAMPLE_TEXT])
def test_every_example_holds_and_can_match(text: str) -> None:
    statement = read_statement(text)
    reached = [tool for tool in TOOLS if tool.path in text or f'Server::"{tool.slug}"' in text]
    report = check_types(statement, reached or TOOLS)
    assert (report.errors, report.warnings, text_warnings(statement)) == ([], [], [])


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6
    assert len(COMMANDS) >= 6


def test_every_code_of_what_is_found_is_explained() -> None:
    places = (ROOT / "app" / "features" / "policies", ROOT / "app" / "access" / "policy")
    source = "\n".join(path.read_text() for place in places for path in place.glob("*.py"))
    codes = set(re.findall(r'Finding\(\s*"([a-z_]+)"', source)) | set(
        re.findall(r'", "([a-z]+_[a-z]+)"\),\n', source)
    )
    codes |= set(re.findall(r'"((?:unknown|empty)_(?:identity|group|server|tool))"', source))
    assert {"never_matches", "wrong_type", "empty_group"} <= codes
    assert {code for code in codes if f"`{code}`" not in REFERENCE} == set()


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="the commands need jq and curl")
def test_the_commands_do_what_the_document_says(database_url: str, tmp_path: Path) -> None:
    with running(database_url) as live:
        owner: Account = live.owner
        environment = {**os.environ, "URL": live.url, "BEARER": owner.bearer}
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(COMMANDS)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert '"status": "draft"' in said
    assert '"decision": "require_approval"' in said
    assert '"passed": false' not in said
    # Published on trial as version 1; enforced as version 2, with another mode; rolled back.
    assert re.search(
        r'"observe"\n\{\n  "changed": true,\n  "version": 1\n\}\ntrue\n\[\n  "mode"\n\]\ntrue\n2\n', said
    )
    assert '\n"observe"\ntrue\nread-only-hours\n' in said
    assert 'resource == Tool::"files/read"' in said
