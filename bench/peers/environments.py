"""The environments of the peers, installed once from lock files with hashes."""

import sys
from importlib.metadata import distributions
from pathlib import Path

from app.cli.children import make_environment, programs_of
from app.cli.errors import CannotStart
from bench.processes import CannotMeasure

FOREIGN = Path(__file__).parent.parent / "foreign"
"""Programs that run in their environments."""
_LOCKS = Path(__file__).parent.parent / "requirements"
_HOME = Path(sys.prefix) / "bench"


def programs(name: str) -> Path:
    """Return the folder of an environment's programs. Raises ``CannotMeasure`` if it cannot be installed."""
    _HOME.mkdir(exist_ok=True)
    try:
        make_environment(_HOME, name, _LOCKS)
    except CannotStart as error:
        raise CannotMeasure(str(error)) from None
    return programs_of(_HOME, name, _LOCKS)


def package_version(programs: Path, package: str) -> str:
    """Return the version of a package in an environment."""
    paths = [str(path) for path in programs.parent.glob("lib/python*/site-packages")]
    return next(found.version for found in distributions(name=package, path=paths))
