"""``python -m app.cli``: the ``scopegate`` command of a checkout that is not installed."""

from app.cli import main

main()
