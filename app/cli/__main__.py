"""``python -m app.cli``: the ``scopegate`` command in a checkout without an installation."""

from app.cli import main

main()
