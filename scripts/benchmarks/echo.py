"""The echo service: what every peer offers, in the two shapes that workloads are written against.

The fields of `Connection` and `Duplex` are the peer's own bound methods, so that no layer of the benchmark stands
between a workload and the runtime that it measures.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

SERVICE = "bench.Echo"
UNARY = f"/{SERVICE}/Unary"
STREAM = f"/{SERVICE}/Stream"


@dataclass(frozen=True, slots=True)
class Duplex:
    """One open bidirectional call: either `receive` or `messages` is used, never both."""

    send: Callable[[bytes], Awaitable[Any]]
    end: Callable[[], Awaitable[Any]]
    receive: Callable[[], Awaitable[Any]]
    messages: AsyncIterable[Any]


@dataclass(frozen=True, slots=True)
class Connection:
    """A client with exactly one HTTP/2 connection."""

    unary: Callable[[bytes], Awaitable[Any]]
    stream: Callable[[], AbstractAsyncContextManager[Duplex]]


class Runtime(Protocol):
    """What a module under `benchmarks.peers` provides."""

    def connect(self, address: str) -> AbstractAsyncContextManager[Connection]:
        """Connect to the ``host:port`` that `serve` gave."""

    def serve(self) -> AbstractAsyncContextManager[str]:
        """Serve the echo service on a port chosen by the system; yields ``host:port``."""
