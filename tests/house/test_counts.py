"""What is counted of ``app/``."""

import ast

from tests.house.counts import counts, only_siblings, report, sources_here, sources_of


def test_a_module_for_one_sibling_is_found() -> None:
    sources = {
        "app.a.__init__": "from app.a.first import x",
        "app.a.first": "",
        "app.a.second": "from app.a import third",
        "app.a.third": "from app.b import far",
        "app.b.far": "import app.a.both",
        "app.b.__init__": "",
        "app.a.both": "from app.a.second import y",
        "app.a.fourth": "from app.a.both import z",
    }
    modules = {name: ast.parse(source) for name, source in sources.items()}
    assert only_siblings(modules) == ["app.a.first", "app.a.second", "app.a.third"]


def test_files_lines_and_the_longest_of_them_are_counted() -> None:
    sources = {
        "app/__init__.py": "",
        "app/a.py": "def f():\n    return 1\n",
        "app/b.py": "import app.a\n\n\nclass C:\n    def g(self):\n        a = 1\n        return a\n",
    }
    assert list(counts(sources).values()) == [3, 9, 1, 7, 3]


def test_the_report_has_the_change_where_there_is_a_base() -> None:
    assert report({"files": 1_200}, {"files": 1_199}) == "  1,200 files (+1 since main)"
    assert report({"files": 1_200}, None) == "  1,200 files"


def test_the_sources_of_a_commit_are_those_of_its_files() -> None:
    assert "app/main.py" in sources_of("HEAD").keys() & sources_here().keys()
