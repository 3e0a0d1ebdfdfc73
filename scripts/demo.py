"""Runs a node and a client as two processes and tells what happens, first on asyncio, then on trio."""

import sys

from demonstration.play import main

if __name__ == "__main__":
    sys.exit(main())
