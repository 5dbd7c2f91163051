"""Keeps the layout of ``app/``: sizes, folders by URL, and what only one place may do.

``pyproject.toml`` holds the layers (``make imports``). ``LIMITS`` has room for what a capability needs; what grows with
every capability is counted instead (``tests/house/counts.py``, ADR 25).
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cache

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr

from app.main import create_api
from app.settings import Settings
from tests.house.call_path import call_path
from tests.house.counts import functions, parsed, sources_here
from tests.table_owners import OWNERS

LIMITS = {
    "lines of a file": 700,
    "lines of a function": 90,
    "operations in another folder than their URL's": 0,
    "calls of begin_nested outside savepoint": 0,
    "tables that two features write": 0,
    # `make limits` alone holds these: raise one with the reason in the commit.
    "files of a warm tools/call": 29,
    "changes of file in a warm tools/call": 106,
}

# The folder of a URL is its first segment after /api/v1/, with `_` for `-`. The others:
FOLDERS = {
    "audit-events": "audit",
    "break-glass": "administrators",
    "offboarding-receipts": "offboarding",
    "scheduled-offboardings": "offboarding",
}
FEATURES = "app.features."


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of ``app/`` by its dotted name."""
    return parsed(sources_here())


def hold(name: str, measured: int, places: object = ()) -> None:
    """Hold a measure to its limit."""
    assert measured <= LIMITS[name], f"{measured} {name}, at most {LIMITS[name]} are allowed: {places}"


def test_files_are_short() -> None:
    lines, path = max((source.count("\n"), path) for path, source in sources_here().items())
    hold("lines of a file", lines, path)


def test_functions_are_short() -> None:
    found = [
        (lines, f"{module}.{name}") for module, tree in trees().items() for name, lines in functions(tree)
    ]
    lines, name = max(found)
    hold("lines of a function", lines, name)


def begins_nested(tree: ast.AST, inside: str = "") -> Iterator[str]:
    """The functions that open a savepoint themselves."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from begins_nested(node, node.name)
            continue
        if isinstance(node, ast.Attribute) and node.attr == "begin_nested":
            yield inside
        yield from begins_nested(node, inside)


def test_one_function_opens_savepoints() -> None:
    found = [
        f"{module}.{function}"
        for module, tree in trees().items()
        for function in begins_nested(tree)
        if not (function == "savepoint" and module.startswith("app.db."))
    ]
    hold("calls of begin_nested outside savepoint", len(found), found)
    assert list(begins_nested(ast.parse("async def f(s):\n    async with s.begin_nested(): ..."))) == ["f"]


def tables(modules: dict[str, ast.Module]) -> dict[str, str]:
    """The tables of ``app/models``, by their dotted class names."""
    return {
        f"{module}.{node.name}": str(ast.literal_eval(statement.value))
        for module, tree in modules.items()
        if module.startswith("app.models.")
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__tablename__"
    }


def written_tables(tree: ast.Module, by_class: dict[str, str]) -> Iterator[str]:
    """The tables that a module writes: by ``insert``, ``update`` and ``delete``, by new rows, and by SQL text."""
    local = {
        alias.asname or alias.name: by_class[f"{node.module}.{alias.name}"]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}" in by_class
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("insert", "update", "delete") and node.args:
                yield local.get(ast.unparse(node.args[0]), "")
            elif node.keywords:
                yield local.get(node.func.id, "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", node.value)


def test_one_feature_writes_a_table() -> None:
    """Others call its services. Admissions and ``Change`` write some tables with SQL of their own."""
    by_class = tables(trees())
    writers: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees().items():
        if module.startswith((FEATURES, "app.adapters.")):
            for table in written_tables(tree, by_class):
                writers[table].add(".".join(module.split(".")[:3]))
    shared = {name: sorted(writers[name]) for name in by_class.values() if len(writers[name]) > 1}
    hold("tables that two features write", len(shared), shared)
    # The tests hold the owners to it at run time.
    owners = {table: f"{FEATURES}{owner}" for table, owner in OWNERS.items()}
    assert owners.keys() <= set(by_class.values())
    assert [(table, writers[table]) for table in owners if writers[table] - {owners[table]}] == []
    assert writers["grants"] == {"app.features.grants"}


@pytest.fixture
def api() -> FastAPI:
    """The real application, not started."""
    key = SecretStr("k" * 40)
    url = SecretStr("postgresql://nowhere/x")
    return create_api(Settings(database_url=url, token_pepper=key, encryption_key=key, signing_key=key))


def strays(api: FastAPI) -> list[str]:
    """Operations whose code is in another folder than their URL says."""
    found = []
    for route in iter_route_contexts(api.routes):
        if not (path := str(route.path)).startswith("/api/v1/"):
            continue
        segment = path.split("/")[3]
        folder = FEATURES + FOLDERS.get(segment, segment.replace("-", "_"))
        module = getattr(route.endpoint, "__module__", "")
        if not f"{module}.".startswith(f"{folder}."):
            methods = ",".join(sorted(route.methods or ()))
            found.append(f"{methods} {path} is in {module}")
    return sorted(found)


def test_an_operation_is_in_the_folder_of_its_url(api: FastAPI) -> None:
    found = strays(api)
    by_folder = Counter(stray.rpartition(" ")[2] for stray in found)
    hold("operations in another folder than their URL's", len(found), by_folder.most_common())


def test_a_stray_operation_is_found(api: FastAPI) -> None:
    router = APIRouter(prefix="/api/v1/grants")

    @router.get("/stray")
    async def stray() -> None: ...

    api.include_router(router)
    assert f"GET /api/v1/grants/stray is in {__name__}" in strays(api)


def test_no_module_is_a_drawer_for_leftovers() -> None:
    names = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [module for module in trees() if names & set(module.split("."))] == []


@pytest.mark.slow
async def test_a_warm_call_runs_through_few_files(database_url: str) -> None:
    path = await call_path(database_url)
    assert "gateway/pipeline.py" in path.files
    hold("files of a warm tools/call", len(path.files), path.files)
    hold("changes of file in a warm tools/call", path.changes)
