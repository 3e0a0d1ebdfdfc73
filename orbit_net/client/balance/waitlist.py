"""The calls of a balancer that have no backend yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orbit_net.client.balance.backend import Backend
    from orbit_net.client.line import Pending
    from orbit_net.errors import OrbitError

__all__ = ["Chooser", "Waitlist"]


class Chooser(Protocol):
    """Who chooses backends. ``lazy``: what one call does not get, another one may get."""

    @property
    def lazy(self) -> bool:
        """Whether each call has to be looked at."""

    def choose(self, call: Pending) -> Backend | None:
        """Return the backend for a call, or None when it has to wait."""

    def hand(self, call: Pending, backend: Backend) -> None:
        """Give the call to its backend."""

    def refusal(self) -> OrbitError | None:
        """Return why calls that may not wait are refused; None while they may."""


class Waitlist:
    """Calls in the order of their coming."""

    __slots__ = ("_again", "_calls", "_chooser", "_serving")

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self._calls: dict[Pending, None] = {}
        self._serving = False
        self._again = False

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, call: Pending) -> None:
        """Let a call wait."""
        self._calls[call] = None

    def withdraw(self, call: Pending) -> None:
        """Take a call out; no effect when it does not wait."""
        self._calls.pop(call, None)

    def drain(self) -> list[Pending]:
        """Take all of them out."""
        calls, self._calls = list(self._calls), {}
        return calls

    def serve(self) -> None:
        """Look at all of them again. A choice may begin to connect, which comes back here: then once more."""
        self._again = True
        if self._serving:
            return
        self._serving = True
        try:
            while self._again:
                self._again = False
                self._serve()
        finally:
            self._serving = False

    def _serve(self) -> None:
        chooser = self._chooser
        # Copied only where each has to be looked at: of ten thousand calls all but the first may have to wait on.
        for call in list(self._calls) if chooser.lazy else self._first():
            backend = chooser.choose(call)
            if backend is not None and call in self._calls:
                del self._calls[call]
                chooser.hand(call, backend)
        error = chooser.refusal() if self._calls else None
        if error is not None:
            for call in [call for call in self._calls if not call.wait_for_ready]:
                self._calls.pop(call, None)
                call.refuse(error)

    def _first(self) -> Iterator[Pending]:
        """Yield the first call, again and again, until it has to wait on."""
        last = None
        while self._calls and (call := next(iter(self._calls))) is not last:
            last = call
            yield call
