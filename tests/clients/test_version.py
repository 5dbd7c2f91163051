"""The client is released with the service, under its version."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_client_and_service_have_one_version() -> None:
    service, client = (
        tomllib.loads((ROOT / path).read_text(encoding="utf-8"))["project"]
        for path in ("pyproject.toml", "clients/python/pyproject.toml")
    )
    assert (client["version"], client["requires-python"]) == (service["version"], service["requires-python"])
