"""The messages that are measured. They travel to the workers as bytes, which every implementation reads for itself."""

from __future__ import annotations

from typing import Any

from orbit_net.codec import Codec
from orbit_net.proto.orbit import consensus, shared

MODULES = {"orbit.shared": ("messages", "health"), "orbit.consensus": ("consensus",), "measured": ("rows",)}
"""The proto packages of the rows, and the files that google.protobuf's modules are named for."""


def actor_message() -> shared.MessageProto:
    """Return an invocation of a usual size."""
    reference = shared.AddressableReferenceProto("PlayerActor", shared.KeyProto(string_key="player-4711"))
    request = shared.InvocationRequestProto(reference, method="move", arguments='[12, 34, "north"]')
    unicast = shared.MessageTargetProtoUnicast(shared.NodeIdProto("node-2", "default"))
    return shared.MessageProto(
        message_id=123_456,
        source=shared.NodeIdProto("node-1", "default"),
        target=shared.MessageTargetProto(unicast_target=unicast),
        content=shared.MessageContentProto(invocation_request=request),
        attempts=1,
    )


def rows(own: Any) -> dict[str, tuple[str, str, bytes]]:
    """Return title → proto package, class name, bytes; ``own`` has the classes of the benchmark's own proto."""
    entries = [consensus.LogEntryProto(index=n, term=3, command="x" * 32) for n in range(1, 101)]
    append = consensus.AppendEntriesRequestProto(
        term=3, leader_id="node-1", prev_log_index=7, prev_log_term=3, entries=entries
    )
    wide = {f"field_{n}": _value(n) for n in range(1, 61)}
    found = {
        "actor message": ("orbit.shared", actor_message()),
        "health request": ("orbit.shared", shared.HealthCheckRequest(service="orbit")),
        "Raft append, 100 entries": ("orbit.consensus", append),
        "wide message, 60 fields": ("measured", own.Wide(**wide)),
        "100 kB of bytes": ("measured", own.Blob(data=b"x" * 100_000)),
        "10,000 packed ints": ("measured", own.Numbers(values=list(range(10_000)))),
    }
    codec = Codec()
    return {
        title: (package, type(message).__name__, codec.encode(message, type(message)))
        for title, (package, message) in found.items()
    }


def _value(number: int) -> Any:
    """Return a value of the type that field ``number`` of the wide message has."""
    return (number, -number, number * 1_000, -number * 1_000, True, "value" * 3, b"value" * 3, 1.5, 7, -7)[
        (number - 1) % 10
    ]
