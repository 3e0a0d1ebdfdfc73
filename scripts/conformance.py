"""Run the official protobuf conformance runner against our codec: ``python scripts/conformance.py [--testee NAME]``.

The logic is in the package ``conformity`` beside this file; ``--help`` lists the options.
"""

import sys

from conformity.command import main

if __name__ == "__main__":
    sys.exit(main())
