"""``python -m orbit_net.cli`` is ``orbit-net``."""

import sys

from . import main

sys.exit(main())
