"""Write ``src/scopegate_client/_generated`` from ``openapi/openapi.json``; with ``--check`` only say whether it is so.

Run by the Python of the generator's own environment: `make client`, `make client-check`.
"""

import filecmp
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCUMENT = HERE.parents[2] / "openapi" / "openapi.json"
GENERATED = HERE.parent / "src" / "scopegate_client" / "_generated"
SECRET = {"$ref": "#/components/schemas/Secret"}


def is_secret(schema: dict[str, Any]) -> bool:
    """Whether this is a password, or a password or null."""
    strings = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    is_password = "password" in [schema.get("format"), *(choice.get("format") for choice in strings)]
    return is_password and [choice.get("type") for choice in strings] == ["string"]


def with_secrets(value: Any) -> Any:
    """The same, with a reference in place of each password."""
    if isinstance(value, list):
        return [with_secrets(item) for item in value]
    if not isinstance(value, dict):
        return value
    if is_secret(value):
        return SECRET
    return {key: with_secrets(item) for key, item in value.items()}


def answers_json(operation: dict[str, Any]) -> bool:
    """Whether an operation answers JSON when it succeeds, or nothing."""
    answers = [answer for status, answer in operation["responses"].items() if status.startswith("2")]
    contents = [answer["content"] for answer in answers if answer.get("content")]
    return not contents or any("application/json" in content for content in contents)


def prepare(document: dict[str, Any]) -> dict[str, Any]:
    """The document as the generator gets it.

    The generator does not keep the format of a string. So what the contract calls a password becomes a reference to
    a schema `Secret`, for which the templates have a class that never prints; `null` for a secret that is not shown
    again is an empty one. Problems are read in one place (`_answers.py`): without them, each operation has the type
    of its success. What the tags are about, the templates see only in the description of the whole. What answers no
    JSON has no method: a file, or a stream without an end, is not read as one answer, and `follow` is there for both.
    """
    prepared: dict[str, Any] = with_secrets(document)
    paths = {
        path: {method: operation for method, operation in item.items() if answers_json(operation)}
        for path, item in prepared["paths"].items()
    }
    prepared["paths"] = {path: item for path, item in paths.items() if item}
    prepared["components"]["schemas"]["Secret"] = {"type": "object", "title": "Secret", "properties": {}}
    for item in prepared["paths"].values():
        for operation in item.values():
            answers = operation["responses"]
            operation["responses"] = {status: answers[status] for status in answers if status.startswith("2")}
    about = (f"{tag['name'].replace('-', '_')}: {tag['description']}" for tag in document["tags"])
    prepared["info"]["description"] = "\n".join(about)
    return prepared


def generate(target: Path) -> None:
    """Run the generator. Without ``--fail-on-warning`` it would leave out what it cannot read, and say nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        document = Path(scratch) / "openapi.json"
        document.write_text(
            json.dumps(prepare(json.loads(DOCUMENT.read_text(encoding="utf-8")))), encoding="utf-8"
        )
        programs = Path(sys.executable).parent
        command = [
            str(programs / "openapi-python-client"),
            "generate",
            "--fail-on-warning",
            "--overwrite",
            *("--path", str(document)),
            *("--config", str(HERE / "config.yml")),
            *("--custom-template-path", str(HERE / "templates")),
            *("--meta", "none"),
            *("--output-path", str(target)),
        ]
        environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"openapi-python-client failed:\n{done.stdout}{done.stderr}")
    drop_unused_models(target)


def drop_unused_models(target: Path) -> None:
    """Remove the models that no method takes or returns: bodies whose fields are arguments of a method."""
    index = target / "models" / "__init__.py"
    while True:
        modules = {path: path.read_text(encoding="utf-8") for path in target.rglob("*.py") if path != index}
        used = set(re.findall(r"from \.+models\.(\w+) import", "\n".join(modules.values())))
        unused = [path for path in modules if path.parent == index.parent and path.stem not in used]
        if not unused:
            return
        lines = index.read_text(encoding="utf-8").splitlines(keepends=True)
        for path in unused:
            path.unlink()
            names = "|".join(re.findall(rf"from \.{path.stem} import (\w+)", "".join(lines)))
            gone = re.compile(rf'\s+(from \.{path.stem} import \w+|"({names})"(: "\.{path.stem}")?,)\n')
            lines = [line for line in lines if not gone.fullmatch(line)]
        index.write_text("".join(lines), encoding="utf-8")


def differences(fresh: Path, kept: Path) -> Iterator[str]:
    """The files that are not the same in both."""
    names = {path.relative_to(root) for root in (fresh, kept) for path in root.rglob("*.py")}
    for name in sorted(names):
        both = (fresh / name).exists() and (kept / name).exists()
        if not both or not filecmp.cmp(fresh / name, kept / name, shallow=False):
            yield str(name)


def check() -> None:
    """Fail when the kept files are not those of the document."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "_generated"
        generate(fresh)
        changed = list(differences(fresh, GENERATED))
    if changed:
        shown = ", ".join(changed[:10]) + (", ..." if len(changed) > 10 else "")
        sys.exit(
            f"The Python client is not that of openapi/openapi.json: run 'make client' and commit it ({shown})"
        )


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        check()
    else:
        generate(GENERATED)
