"""Counts what ``app/`` consists of, and how that differs from ``main``. Nothing here can fail (ADR 25).

::

    python -m tests.house.counts
"""

import ast
import io
import sys
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from tests.house.tracked import ROOT, git, tracked

BASES = ("origin/main", "main")


def sources_here() -> dict[str, str]:
    """The text of each module of ``app/`` by its path."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in tracked("app/*.py")
    }


def sources_of(commit: str) -> dict[str, str]:
    """The same of a commit."""
    packed = git("archive", commit, "app")
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(".py") and (file := archive.extractfile(member)):
                found[member.name] = file.read().decode()
    return found


def base_commit() -> str | None:
    """The commit to compare with: that of ``main``, unless it is not here or is this one."""
    for name in BASES:
        commit = _commit(name)
        if commit and commit != _commit("HEAD"):
            return commit
    return None


def _commit(name: str) -> str | None:
    return (
        git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", check=False).stdout.decode().strip()
        or None
    )


def parsed(sources: Mapping[str, str]) -> dict[str, ast.Module]:
    """Every module by its dotted name; a package by that of its ``__init__``."""
    return {
        ".".join(PurePath(path).with_suffix("").parts): ast.parse(source) for path, source in sources.items()
    }


def functions(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The name and the lines of every function, from its ``def`` on."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def importers(modules: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """Who imports each module. ``from package import module`` is an import of the module."""
    found: dict[str, set[str]] = defaultdict(set)
    for importer, tree in modules.items():
        for name in imported(tree):
            for candidate in (name, f"{name}.__init__", name.rpartition(".")[0]):
                if candidate in modules:
                    found[candidate].add(importer)
                    break
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted names that are imported, those of members of modules too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def only_siblings(modules: Mapping[str, ast.Module]) -> list[str]:
    """Modules with one importer, which is in the same folder: what both hold may be one subject."""
    found = importers(modules)
    return sorted(
        module
        for module, users in found.items()
        if not module.endswith(".__init__")
        and len(users) == 1
        and all(user.rpartition(".")[0] == module.rpartition(".")[0] for user in users)
    )


def counts(sources: Mapping[str, str]) -> dict[str, int]:
    """What is counted, by name."""
    modules = parsed(sources)
    return {
        "files": len(sources),
        "lines": sum(source.count("\n") for source in sources.values()),
        "modules that one sibling alone imports": len(only_siblings(modules)),
        "lines of the longest file": max(source.count("\n") for source in sources.values()),
        "lines of the longest function": max(
            lines for tree in modules.values() for _name, lines in functions(tree)
        ),
    }


def report(now: Mapping[str, int], before: Mapping[str, int] | None) -> str:
    """A line for each count, with its change where there is something to compare with."""
    return "\n".join(
        f"{count:7,} {name}{f' ({count - before[name]:+,} since main)' if before else ''}"
        for name, count in now.items()
    )


def main() -> None:
    """Print the report."""
    base = base_commit()
    before = counts(sources_of(base)) if base else None
    sys.stdout.write(f"app/ has\n{report(counts(sources_here()), before)}\n")


if __name__ == "__main__":
    main()
