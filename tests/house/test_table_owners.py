"""What changes a row of another feature's table fails, wherever it is called from."""

import pytest

from app.db.rows import touch
from app.models.servers import Server


def change(row: Server, module: str) -> None:
    """Change a row as code of this module."""
    exec("row.name = 'another'", {"row": row, "__name__": module})


def test_only_its_owner_changes_a_table() -> None:
    row = Server(slug="git", name="Git", url="https://mcp.example.com/")
    change(row, "app.features.servers.service")
    change(row, "tests.of.servers")
    for module in ("app.features.tools.service", "app.adapters.console.pages.servers"):
        with pytest.raises(AssertionError, match=r"writes servers\.name, a table of servers"):
            change(row, module)


def test_a_row_may_be_touched_for_its_parts() -> None:
    row = Server(slug="git", name="Git", url="https://mcp.example.com/", revision=1)
    exec("touch(row)", {"row": row, "touch": touch, "__name__": "app.features.tools.service"})
    assert row.revision == 2
