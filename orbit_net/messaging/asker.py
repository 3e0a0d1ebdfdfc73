"""Who waits for the answer to a message, and the failures that both sides of a link know by name."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from orbit_net.model import Content, NodeId

__all__ = ["LOST", "PLATFORM", "TIMED_OUT", "Asker"]

PLATFORM: Final = f"{platform.python_implementation()} {platform.python_version()}"
"""What an ``invocation_response_error`` of this library names as its platform."""

LOST: Final = "orbit_net: lost"
"""The platform of a failure that a node between asker and actor reports: the way broke, the method may have run."""

TIMED_OUT: Final = "orbit_net: timed out"
"""The same for a node between that waited too long."""


class Asker(Protocol):
    """Takes the one answer to a question. Neither of the two ever blocks."""

    @property
    def wanted(self) -> bool:
        """Whether the answer can still reach anybody."""

    def answer(self, content: Content, source: NodeId | None = None) -> None:
        """Take the answer; ``source`` is the node that gave it, or None for this one."""
