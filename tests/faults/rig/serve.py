"""``scopegate`` as a build for the rig: ``python -m tests.faults.rig.serve serve``.

``RIG_FAILPOINTS`` says what happens at which failpoint, ``RIG_MUTANT`` how the build is broken; without either it is
the service as it is. A name that nothing has ends it at once. Workers that are spawned import this module as well.
"""

import os
import sys

from tests.faults.rig.breaks import breaks_of
from tests.faults.rig.compiled_in import InvalidBuild, install, parsed

try:
    install(parsed(os.environ.get("RIG_FAILPOINTS", "")), breaks_of(os.environ.get("RIG_MUTANT", "")))
except InvalidBuild as error:
    sys.exit(str(error))

if __name__ == "__main__":
    from app.cli import main

    main()
