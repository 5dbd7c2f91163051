"""Services of features form no cycle (import-linter), because only they write, and nothing is above routes."""

import ast
import re
from collections.abc import Iterator

from tests.house.counts import parsed, sources_here

FEATURES = "app.features."
_WRITES = re.compile(r"\b(?:INSERT INTO|DELETE FROM|UPDATE (?!OF\b|SKIP\b)\w+)\b")
_LOCKS = re.compile(r"FOR (?:NO KEY )?UPDATE")
_SESSION = re.compile(r"session\.(?:add|add_all|delete|merge)$")


def _texts(node: ast.AST) -> Iterator[str]:
    return (
        part.value
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )


def _writes(node: ast.AST) -> bool:
    """Whether code inserts, changes or deletes rows: by SQL, by SQLAlchemy's statements, or as objects."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            name = ast.unparse(part.func)
            if name in {"insert", "update", "delete"} or _SESSION.search(name):
                return True
        if isinstance(part, ast.Assign | ast.AugAssign):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if any(isinstance(each, ast.Attribute) for target in targets for each in ast.walk(target)):
                return True
    return any(_WRITES.search(_LOCKS.sub("", text)) for text in _texts(node))


def writing(tree: ast.Module) -> list[str]:
    """The functions and constants of a module that write."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(map(_writes, node.body)):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _writes(node.value):
            found.append(ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target))
    return found


def test_queries_only_read() -> None:
    found = {
        module: functions
        for module, tree in parsed(sources_here()).items()
        if module.startswith(FEATURES) and module.endswith((".queries", ".schemas"))
        if (functions := writing(tree))
    }
    assert found == {}


def test_a_query_that_writes_is_found() -> None:
    assert writing(ast.parse('LOCK = text("SELECT 1 FROM tokens FOR UPDATE OF tokens")')) == []
    assert writing(ast.parse("def f(row): return row.name == 1")) == []
    for source in (
        'X = text("WITH a AS (SELECT 1) UPDATE tokens SET name = 1")',
        "async def X(session): await session.execute(delete(Token))",
        "def X(session, row): session.add(row)",
        "def X(row): row.name, other = 1, 2",
        "def X(row): row.revision += 1",
    ):
        assert writing(ast.parse(source)) == ["X"], source


def test_only_routes_import_routes() -> None:
    found = [
        (module, node.module)
        for module, tree in parsed(sources_here()).items()
        if module.startswith(FEATURES) and not module.endswith(".routes")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith(FEATURES)
        if "routes" in {node.module.rpartition(".")[2], *(alias.name for alias in node.names)}
    ]
    assert found == []
