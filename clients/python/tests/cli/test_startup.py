"""What `sgctl` and the client import: what they use, as most of the time to start is spent on imports."""

import json
import subprocess
import sys

MODELS, RESOURCES = "scopegate_client._generated.models.", "scopegate_client._generated.api."


def imported_by(program: str) -> set[str]:
    """The modules that a program of its own has imported at its end."""
    program += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def below(package: str, modules: set[str]) -> set[str]:
    """The direct children of a package among them."""
    return {
        module.removeprefix(package).partition(".")[0] for module in modules if module.startswith(package)
    }


def test_a_command_imports_few_models_and_no_operations() -> None:
    modules = imported_by(
        "from scopegate_client.cli import main\n"
        "assert main(['connect', 'cursor', '--url', 'https://x.example.com']) == 0"
    )
    # To sign in is the only operation that every client has at hand.
    assert below(RESOURCES, modules) == {"oauth"}
    assert len(below(MODELS, modules)) < 50
    assert "tomlkit" not in modules


def test_a_resource_is_imported_when_it_is_used() -> None:
    modules = imported_by(
        "from scopegate_client import Client\nClient('https://x.example.com', access_token='a').grants"
    )
    assert below(RESOURCES, modules) == {"oauth", "grants"}


def test_models_are_found_by_name_and_none_else() -> None:
    imported_by(
        "from scopegate_client import models\n"
        "assert models.Token.__name__ == 'Token' and 'Token' in dir(models)\n"
        "assert not hasattr(models, 'NoSuchModel')\n"
        "from scopegate_client.models import *\n"
        "assert Grant is models.Grant"
    )
