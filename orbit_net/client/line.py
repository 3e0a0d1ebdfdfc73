"""What calls are handed to, and what is asked of calls there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskGroup

    from orbit_net.client.connectivity import Connectivity
    from orbit_net.client.subchannel import Subchannel
    from orbit_net.errors import OrbitError
    from orbit_net.net import Connection, Stream
    from orbit_net.wire.hpack import Field

__all__ = ["Line", "Pending"]


class Pending(Protocol):
    """A call that wants a stream. Exactly one of the two methods is called, once, unless it is withdrawn.

    ``wait_for_ready`` lets it wait while there is no connection.
    """

    wait_for_ready: bool

    @property
    def fields(self) -> Sequence[Field]:
        """Its metadata."""

    @property
    def hash_key(self) -> bytes | None:
        """What it asks rings for."""

    @property
    def tried(self) -> Sequence[Connection]:
        """The connections that other attempts of the same call were sent on: another one is better."""

    @property
    def stream(self) -> Stream | None:
        """Its stream, once it has begun."""

    def begin(self, connection: Connection) -> None:
        """Open the stream on ``connection``, which has room for it."""

    def refuse(self, error: OrbitError) -> None:
        """Take notice that there is no connection."""


class Line(Protocol):
    """What calls are handed to: one subchannel, or a balancer over many."""

    @property
    def state(self) -> Connectivity:
        """Whether there is a connection."""

    @property
    def trouble(self) -> OrbitError | None:
        """Why there is no connection; None while there is one, or the reason is not known."""

    @property
    def capacity(self) -> int | None:
        """How many calls the servers take at a time; None while that is not known."""

    @property
    def subchannels(self) -> tuple[Subchannel, ...]:
        """All of them."""

    def start(self, tasks: TaskGroup) -> None:
        """Name the task group that connections run in."""

    def connect(self) -> None:
        """Begin to connect, if there is no connection and nothing is under way."""

    def submit(self, call: Pending) -> None:
        """Give ``call`` a stream now, or as soon as there is one, or refuse it."""

    def withdraw(self, call: Pending) -> None:
        """Take a waiting call out of the row; no effect when it is not in it."""

    def close(self) -> None:
        """Refuse what waits, fail what is open, and end."""

    async def wait_idle(self) -> None:
        """Wait until no connection is open or ending."""
