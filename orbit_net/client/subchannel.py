"""The connection to one address: connect when needed, once, with backoff; calls wait in order for a free stream.

    IDLE ──call──▶ CONNECTING ──SETTINGS──▶ READY ──GOAWAY, loss──▶ IDLE
                     ▲    └──failure──▶ TRANSIENT_FAILURE ──backoff over──▶ IDLE, or CONNECTING if calls wait

A GOAWAY makes room for a new connection at once, while the old one finishes its calls.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from orbit_net.client.connectivity import Connectivity
from orbit_net.errors import ConfigurationError, ConnectError, NetworkError, OrbitError
from orbit_net.net import Connection, is_cancelled
from orbit_net.wire import Traffic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from anyio.abc import ByteStream, TaskGroup

    from orbit_net.client.settings import ChannelSettings

__all__ = ["Pending", "Subchannel"]

_log = logging.getLogger("orbit_net.client")


_FAREWELLS: Final = 3
"""How often in a row a server may say goodbye to a connection that was just made, before that is a failure.

It drained while the connection waited to be accepted; another server, or its successor, answers the next attempt.
"""


class _Farewell(ConnectError):
    """The connection ended in good order before it was used: by the server, or by its own idle timeout."""


class Pending(Protocol):
    """A call that wants a stream. Exactly one of the two methods is called, once, unless it is withdrawn."""

    wait_for_ready: bool

    def begin(self, connection: Connection) -> None:
        """Open the stream on ``connection``, which has room for it."""

    def refuse(self, error: OrbitError) -> None:
        """Take notice that there is no connection."""


class Subchannel:
    """At most one usable connection, and the calls that wait for it.

    ``connector`` opens the byte stream. The connection is closed when there were no calls for a while, and pings less
    often after a server has complained. ``observers`` are called with the subchannel after each change of ``state`` and
    must not block; ``traffic`` is the sum over the connections that have ended, None before the first.
    """

    def __init__(
        self,
        connector: Callable[[], Awaitable[ByteStream]],
        *,
        name: str,
        settings: ChannelSettings,
        random: Random,
    ) -> None:
        self.observers: tuple[Callable[[Subchannel], None], ...] = ()
        self.traffic: Traffic | None = None
        self.error: OrbitError | None = None
        self._state = Connectivity.IDLE
        self._connector = connector
        self._name = name
        self._settings = settings
        self._slower = 1
        self._random = random
        self._failures = 0
        self._tasks: TaskGroup | None = None
        self._current: Connection | None = None
        self._connections: set[Connection] = set()
        self._waiting: OrderedDict[Pending, None] = OrderedDict()

    def start(self, tasks: TaskGroup) -> None:
        """Name the task group that connections run in; nothing is connected yet."""
        self._tasks = tasks

    @property
    def name(self) -> str:
        """Where it connects to."""
        return self._name

    @property
    def state(self) -> Connectivity:
        """Whether there is a connection."""
        return self._state

    @state.setter
    def state(self, state: Connectivity) -> None:
        if state is not self._state:
            self._state = state
            for observer in self.observers:
                observer(self)

    @property
    def connections(self) -> tuple[Connection, ...]:
        """Those that have not ended."""
        return tuple(self._connections)

    @property
    def capacity(self) -> int | None:
        """How many calls the server takes at a time on the connection; None while there is no connection."""
        return None if self._current is None else self._current.wire.peer.max_concurrent_streams

    # --- calls -----------------------------------------------------------------------------------

    def submit(self, call: Pending) -> None:
        """Give ``call`` a stream now, or as soon as there is one, or refuse it."""
        current = self._current
        if current is not None and not self._waiting and current.can_open:
            call.begin(current)
            return
        if self._tasks is None:
            raise ConfigurationError("the channel is not open: use it inside 'async with Channel(...) as channel'")
        if self.state is Connectivity.SHUTDOWN:
            call.refuse(NetworkError("the channel is closed"))
        elif self.state is Connectivity.TRANSIENT_FAILURE and not call.wait_for_ready:
            call.refuse(self.error or ConnectError(f"no connection to {self._name}"))
        else:
            self._waiting[call] = None
            if self.state is Connectivity.IDLE:
                self._connect()

    def withdraw(self, call: Pending) -> None:
        """Take a waiting call out of the row; no effect when it is not in it."""
        self._waiting.pop(call, None)

    def _serve_waiting(self) -> None:
        current = self._current
        while self._waiting and current is not None and current.can_open:
            call, _ = self._waiting.popitem(last=False)
            call.begin(current)

    def _refuse_waiting(self, error: OrbitError, *, everyone: bool = False) -> None:
        for call in [call for call in self._waiting if everyone or not call.wait_for_ready]:
            del self._waiting[call]
            call.refuse(error)

    # --- connections -----------------------------------------------------------------------------

    def _connect(self) -> None:
        assert self._tasks is not None
        self.state = Connectivity.CONNECTING
        self._tasks.start_soon(self._attempts)

    async def _attempts(self) -> None:
        farewells = 0
        while True:
            self.state = Connectivity.CONNECTING
            started = anyio.current_time()
            error = await self._attempt()
            if error is None or self.state is Connectivity.SHUTDOWN:
                return
            if isinstance(error, _Farewell) and farewells < _FAREWELLS:
                farewells += 1
                continue
            farewells = 0
            self._failures += 1
            self.error = error
            self.state = Connectivity.TRANSIENT_FAILURE
            delay = self._settings.backoff.delay(self._failures, self._random)
            _log.info("%s; next attempt in %.1f s", error, delay)
            self._refuse_waiting(error)
            await anyio.sleep_until(started + delay)
            if self.state is Connectivity.SHUTDOWN:
                return
            if not self._waiting:
                self.state = Connectivity.IDLE
                return

    async def _attempt(self) -> OrbitError | None:
        """Make one connection and wait for its SETTINGS; return what went wrong, or None."""
        assert self._tasks is not None
        connection: Connection | None = None
        changed = anyio.Event()
        try:
            with anyio.fail_after(self._settings.connect_timeout):
                transport = await self._connector()
                connection = Connection(
                    transport,
                    client=True,
                    settings=self._settings.wire(),
                    upkeep=self._settings.upkeep(slower=self._slower),
                    on_change=changed.set,
                )
                self._tasks.start_soon(self._run, connection)
                while not connection.ready:
                    if not connection.usable:
                        return self._why(connection)
                    await changed.wait()
                    changed = anyio.Event()
                    connection.on_change = changed.set
        except OrbitError as error:
            return error
        except TimeoutError:
            if connection is not None:
                connection.close("the server sent no SETTINGS in time")
            return ConnectError(f"no HTTP/2 connection to {self._name} within {self._settings.connect_timeout:g} s")
        except Exception as error:  # noqa: BLE001 - a user's connector may raise anything
            return ConnectError(f"cannot connect to {self._name}: {error!r}")
        except anyio.get_cancelled_exc_class() as error:
            if is_cancelled():
                raise
            return ConnectError(f"cannot connect to {self._name}: {error!r}")
        self._adopt(connection)
        return None

    def _why(self, connection: Connection) -> OrbitError:
        if connection.error is None:
            goodbye = connection.wire.goaway_received is not None
            reason = "the server is going away" if goodbye else "the connection was closed"
            return _Farewell(f"no gRPC connection to {self._name}: {reason}")
        return ConnectError(f"no gRPC connection to {self._name}: {connection.error}")

    def _adopt(self, connection: Connection) -> None:
        if self.state is Connectivity.SHUTDOWN:
            connection.close("the channel was closed")
            return
        connection.on_change = self._on_change
        self._current = connection
        self._failures = 0
        self.error = None
        self.state = Connectivity.READY
        self._on_change()

    async def _run(self, connection: Connection) -> None:
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self.traffic = self.traffic or Traffic()
            self.traffic.add(connection.wire.traffic)
            self._heed(connection)

    def _heed(self, connection: Connection) -> None:
        """Ask half as often, on all later connections of the channel, if the server complained (gRFC A8)."""
        if connection.pinged_too_often:
            connection.pinged_too_often = False
            self._slower *= 2

    def _on_change(self) -> None:
        """Look at the current connection again: it has room, or says goodbye, or is gone."""
        current = self._current
        if current is not None and not current.usable:
            self._heed(current)
            self._current = None
            if self.state is Connectivity.READY:
                self.state = Connectivity.IDLE
                if self._waiting:
                    self._connect()
        elif self._waiting:
            self._serve_waiting()

    def close(self) -> None:
        """Refuse what waits, fail what is open, say GOAWAY; the connections end by themselves soon after."""
        self.state = Connectivity.SHUTDOWN
        self._current = None
        self._refuse_waiting(NetworkError("the channel is closed"), everyone=True)
        for connection in list(self._connections):
            connection.close("the channel was closed")

    async def wait_idle(self) -> None:
        """Wait until no connection is open or ending."""
        while self._connections:
            await next(iter(self._connections)).wait_closed()

    def __repr__(self) -> str:
        streams = sum(connection.open_streams for connection in self._connections)
        return f"<Subchannel {self._name} {self.state.value}, {streams} streams, {len(self._waiting)} waiting>"
