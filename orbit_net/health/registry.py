"""Which services are healthy, and who wants to know."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["OVERALL", "HealthRegistry", "ServingStatus"]

OVERALL: Final = ""
"""The name under which the health of the whole server is asked for (gRPC *health-checking*)."""


class ServingStatus(IntEnum):
    """The states of a service; the numbers are those of both health protocols."""

    UNKNOWN = 0
    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class HealthRegistry:
    """The status of each service by its name; the whole server is :data:`OVERALL`, SERVING from the start.

    A watcher gets the latest status, never a backlog: a slow one misses what was over before it looked.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, ServingStatus] = {OVERALL: ServingStatus.SERVING}
        self._changed: anyio.Event | None = None
        self._shut_down = False

    @property
    def statuses(self) -> Mapping[str, ServingStatus]:
        """All services and their status now."""
        return dict(self._statuses)

    def get(self, service: str) -> ServingStatus | None:
        """Return the status of a service, or None for one that was never set."""
        return self._statuses.get(service)

    def set(self, service: str, status: ServingStatus) -> None:
        """Set a status and wake the watchers; ignored after :meth:`shut_down`."""
        if not self._shut_down and self._statuses.get(service) is not status:
            self._statuses[service] = ServingStatus(status)
            self._wake()

    def remove(self, service: str) -> None:
        """Forget a service: it is unknown from now on."""
        if not self._shut_down and self._statuses.pop(service, None) is not None:
            self._wake()

    def shut_down(self) -> None:
        """Set every service to NOT_SERVING for good, so that clients go elsewhere before the server drains."""
        self._shut_down = True
        self._statuses = dict.fromkeys(self._statuses, ServingStatus.NOT_SERVING)
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def watch(self, service: str) -> AsyncIterator[ServingStatus]:
        """Yield the status now, and again after each change, for ever; SERVICE_UNKNOWN while the service is not set."""
        last: ServingStatus | None = None
        while True:
            status = self._statuses.get(service, ServingStatus.SERVICE_UNKNOWN)
            if status is not last:
                last = status
                yield status
                continue  # it may have changed while the consumer was busy
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name or 'overall'} {status.name}" for name, status in self._statuses.items())
        return f"<HealthRegistry {shown}{', shut down' if self._shut_down else ''}>"
