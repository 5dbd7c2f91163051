"""``python -m scopegate_client.cli``: the same as ``sg``, where another program has that name."""

import sys

from scopegate_client.cli import main

sys.exit(main())
