"""The packaged version equals the version in the code."""

import tomllib
from pathlib import Path

import app


def test_the_package_and_the_code_have_one_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["version"] == app.__version__
