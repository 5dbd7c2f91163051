"""The domain imports only the standard library and itself."""

import ast
import sys
from pathlib import Path

DOMAIN = Path(__file__).parents[2] / "app" / "domain"


def imported(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add("." if node.level else node.module or "")
    return names


def test_the_domain_imports_only_the_standard_library_and_itself() -> None:
    foreign = {
        f"{path.name}: {name}"
        for path in DOMAIN.rglob("*.py")
        for name in imported(path.read_text())
        if name.split(".")[0] not in sys.stdlib_module_names and not (name + ".").startswith("app.domain.")
    }
    assert foreign == set()
