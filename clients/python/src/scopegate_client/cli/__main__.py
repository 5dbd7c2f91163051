"""``python -m scopegate_client.cli``: the same as ``sgctl``."""

import sys

from scopegate_client.cli import main

sys.exit(main())
