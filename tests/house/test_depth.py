"""Input has a maximum nesting depth of our own, which does not depend on the interpreter."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_no_code_waits_for_the_interpreter_to_run_out_of_stack() -> None:
    places = [*(ROOT / "app").rglob("*.py"), *(ROOT / "clients" / "python" / "src").rglob("*.py")]
    files = [path for path in places if "node_modules" not in path.parts]
    assert len(files) > 300
    assert [str(path) for path in files if "RecursionError" in path.read_text(encoding="utf-8")] == []
