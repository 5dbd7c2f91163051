"""What the generator is given, and how it is noticed that it was not run."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "generator" / "generate.py"
PASSWORD = {"type": "string", "format": "password"}


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("schema", "secret"),
    [
        (PASSWORD, True),
        ({"anyOf": [PASSWORD, {"type": "null"}]}, True),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "format": "password"}, True),
        ({"type": "string"}, False),
        ({"type": "string", "format": "date-time"}, False),
        ({"anyOf": [PASSWORD, {"type": "integer"}]}, False),
        ({"format": {"type": "string"}, "type": {"type": "string"}}, False),
    ],
)
def test_every_form_of_a_password_is_a_secret(
    generate: ModuleType, schema: dict[str, Any], secret: bool
) -> None:
    assert generate.is_secret(schema) is secret
    assert (generate.with_secrets([{"a": schema}]) == [{"a": generate.SECRET}]) is secret


def test_a_changed_a_missing_and_a_left_over_file_are_all_noticed(
    generate: ModuleType, tmp_path: Path
) -> None:
    fresh, kept = tmp_path / "fresh", tmp_path / "kept"
    for root in (fresh, kept):
        (root / "models").mkdir(parents=True)
        (root / "models" / "same.py").write_text("same")
        (root / "changed.py").write_text(root.name)
    (fresh / "models" / "new.py").touch()
    (kept / "left_over.py").touch()
    assert list(generate.differences(fresh, kept)) == ["changed.py", "left_over.py", "models/new.py"]


def test_an_answer_has_the_type_of_its_success(generate: ModuleType) -> None:
    document = {
        "info": {},
        "tags": [{"name": "me", "description": "Who asks."}],
        "paths": {"/me": {"get": {"responses": {"200": {}, "401": {}}}}},
        "components": {"schemas": {}},
    }
    prepared = generate.prepare(document)
    assert list(prepared["paths"]["/me"]["get"]["responses"]) == ["200"]
    assert prepared["info"]["description"] == "me: Who asks."
