"""The commands of the how-to do what it says."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.live import running

HOW_TO = (Path(__file__).parents[3] / "docs" / "how-to" / "provision-with-scim.md").read_text()
COMMANDS = re.findall(r"<!-- commands that run: [^>]*-->\n```sh\n(.*?)```", HOW_TO, re.DOTALL)


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="the commands need jq and curl")
def test_the_commands_do_what_the_document_says(database_url: str, tmp_path: Path) -> None:
    with running(database_url) as live:
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", "\n".join(COMMANDS)],
            cwd=tmp_path,
            env={**os.environ, "URL": live.url, "BEARER": live.owner.bearer},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr + done.stdout
    link, found, active, status, group, principal, *trail = done.stdout.splitlines()
    assert (link, found, active, status) == ('"externalId"', "0", "false", "offboarded")
    assert (group, principal) == ("engineers", "group")
    assert trail == [
        '["Groups.create",201]',
        '["Users.delete",204]',
        '["Users.patch",200]',
        '["Users.create",201]',
        '["Users.search",200]',
        "true",
    ]
