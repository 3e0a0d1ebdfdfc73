"""The settings of actors, links and nodes. Times in seconds, sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from orbit_net.client import BackoffPolicy, ChannelSettings
from orbit_net.errors import ConfigurationError

__all__ = ["ActorSettings", "LinkSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSettings:
    """How many actors a node holds, and for how long.

    ``idle``: an actor without an invocation for so long is deactivated; five minutes keep a conversation's actors and
    let go of the rest. ``max_actors`` and ``max_mailbox`` (invocations that wait for one actor) bound memory: above
    them an invocation is refused, which its caller may repeat. ``deactivation`` bounds ``on_deactivate``.
    """

    idle: float = 300.0
    max_actors: int = 100_000
    max_mailbox: int = 1_024
    deactivation: float = 10.0

    def __post_init__(self) -> None:
        for name in ("idle", "max_actors", "max_mailbox", "deactivation"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"ActorSettings.{name} is {getattr(self, name)!r}; it must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """How a link holds, repeats and gives up.

    ``timeout``: an invocation's whole time where its caller names none. ``max_pending`` invocations, or
    ``max_queued`` bytes not yet handed to the stream, make the next caller wait: enough to fill a round trip, little
    enough that a stalled peer costs megabytes and not the machine. ``max_message`` stays under gRPC's usual 4 MiB, for
    a larger message would end the stream with everything in it. ``max_attempts``: deliveries of one idempotent
    invocation, and hops of a message that looks for its actor. ``connect_timeout`` bounds one connection, up to the
    peer's telling who it is, and the wait for the last answers of a peer that has gone. ``backoff`` is for connections
    and for invocations that reached no actor; it begins far below gRPC's second, for a peer that restarts is back in
    less.
    """

    timeout: float = 30.0
    max_pending: int = 1_024
    max_queued: int = 1_048_576
    max_message: int = 4_000_000
    max_attempts: int = 8
    connect_timeout: float = 5.0
    backoff: BackoffPolicy = field(default_factory=lambda: BackoffPolicy(initial=0.05, maximum=2.0))
    channel: ChannelSettings = field(default_factory=ChannelSettings)

    def __post_init__(self) -> None:
        for name in ("timeout", "max_pending", "max_queued", "max_message", "max_attempts", "connect_timeout"):
            if not getattr(self, name) > 0:
                raise ConfigurationError(f"LinkSettings.{name} is {getattr(self, name)!r}; it must be above 0")
