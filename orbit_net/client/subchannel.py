"""The connection to one endpoint: connect when needed, once, with backoff; calls wait in order for a free stream.

    IDLE ──call──▶ CONNECTING ──SETTINGS──▶ READY ──GOAWAY, loss──▶ IDLE
                     ▲    └──failure──▶ TRANSIENT_FAILURE ──backoff over──▶ IDLE, or CONNECTING if calls wait

A GOAWAY makes room for a new connection at once, while the old one finishes its calls. Of several addresses the first
that answers with SETTINGS is used (:mod:`orbit_net.client.dialing`).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import anyio

from orbit_net.client.connectivity import Connectivity
from orbit_net.client.dialing import Dialer, Farewell
from orbit_net.errors import ConfigurationError, ConnectError, NetworkError
from orbit_net.wire import Traffic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from random import Random

    from anyio.abc import TaskGroup

    from orbit_net.client.dialing import Connector, Way
    from orbit_net.client.line import Pending
    from orbit_net.client.settings import ChannelSettings
    from orbit_net.errors import OrbitError
    from orbit_net.net import Connection

__all__ = ["Subchannel"]

_log = logging.getLogger("orbit_net.client")


_FAREWELLS: Final = 3
"""How often in a row a server may say goodbye to a connection that was just made, before that is a failure.

It drained while the connection waited to be accepted; another server, or its successor, answers the next attempt.
"""


class Subchannel:
    """At most one usable connection, and the calls that wait for it.

    ``connector`` opens the byte stream; or ``ways`` gives several of them, which are raced, anew for each attempt.
    The connection is closed when there were no calls for a while, and pings less often after a server has complained.
    ``observers`` are called with the subchannel after each change of ``state`` and must not block; ``traffic`` is the
    sum over the connections that have ended, None before the first; ``rested`` tells whether the last one was closed
    because it had no calls.
    """

    __slots__ = (
        "__weakref__",
        "_connections",
        "_connector",
        "_current",
        "_dialer",
        "_failures",
        "_name",
        "_random",
        "_scope",
        "_settings",
        "_slower",
        "_state",
        "_tasks",
        "_waiting",
        "error",
        "observers",
        "rested",
        "traffic",
        "way",
        "ways",
    )

    def __init__(
        self,
        connector: Connector | None = None,
        *,
        name: str,
        settings: ChannelSettings,
        random: Random,
        ways: Callable[[], Awaitable[Sequence[Way]]] | None = None,
        attempt_delay: float = 0.25,
        observer: Callable[[Subchannel], None] | None = None,
    ) -> None:
        self.observers: tuple[Callable[[Subchannel], None], ...] = () if observer is None else (observer,)
        self.traffic: Traffic | None = None
        self.error: OrbitError | None = None
        self.rested = False
        self.ways = ways
        self.way: str | None = None
        """The name of the way that the current connection took, where there were several."""
        self._state = Connectivity.IDLE
        self._connector = connector
        self._name = name
        self._settings = settings
        self._dialer = Dialer(name, settings, attempt_delay)
        self._slower = 1
        self._random = random
        self._failures = 0
        self._tasks: TaskGroup | None = None
        self._scope: anyio.CancelScope | None = None
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
    def trouble(self) -> OrbitError | None:
        """Why the last attempt to connect has failed; None once one has succeeded."""
        return self.error

    @property
    def capacity(self) -> int | None:
        """How many calls the server takes at a time on the connection; None while there is no connection."""
        return None if self._current is None else self._current.wire.peer.max_concurrent_streams

    @property
    def connection(self) -> Connection | None:
        """The connection for new calls, if there is one."""
        return self._current

    @property
    def active(self) -> int:
        """How many calls are open on the connection or wait for a stream."""
        return len(self._waiting) + (0 if self._current is None else self._current.open_streams)

    @property
    def waiting(self) -> int:
        """How many calls wait for a stream."""
        return len(self._waiting)

    @property
    def streams(self) -> int:
        """How many calls are open, also on connections that take no new ones."""
        return sum(connection.open_streams for connection in self._connections)

    @property
    def lives(self) -> bool:
        """Whether any connection is open or ending."""
        return bool(self._connections)

    @property
    def subchannels(self) -> tuple[Subchannel, ...]:
        """The subchannel itself, as the only one."""
        return (self,)

    @property
    def _closed(self) -> bool:
        return self.state is Connectivity.SHUTDOWN

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
            if call in self._waiting:  # the refusal of another one may have taken it out
                del self._waiting[call]
                call.refuse(error)

    # --- connections -----------------------------------------------------------------------------

    def connect(self) -> None:
        """Begin to connect, if there is no connection and none under way, and no backoff."""
        if self.state is Connectivity.IDLE and self._tasks is not None:
            self._connect()

    def _connect(self) -> None:
        assert self._tasks is not None
        self.rested = False
        self.state = Connectivity.CONNECTING
        self._tasks.start_soon(self._attempts)

    async def _attempts(self) -> None:
        with anyio.CancelScope() as self._scope:
            farewells = 0
            while not self._closed:
                self.state = Connectivity.CONNECTING
                started = anyio.current_time()
                error = await self._attempt()
                if error is None or self._closed:
                    return
                if isinstance(error, Farewell) and farewells < _FAREWELLS:
                    farewells += 1
                    continue
                farewells = 0
                if not await self._back_off(started, error):
                    return

    async def _back_off(self, started: float, error: OrbitError) -> bool:
        """Wait until the next attempt is due; whether somebody waits for it."""
        self._failures += 1
        self.error = error
        self.state = Connectivity.TRANSIENT_FAILURE
        delay = self._settings.backoff.delay(self._failures, self._random)
        _log.info("%s; next attempt in %.1f s", error, delay)
        self._refuse_waiting(error)
        await anyio.sleep_until(started + delay)
        if self._waiting or self._closed:
            return True
        self.state = Connectivity.IDLE
        return False

    async def _attempt(self) -> OrbitError | None:
        """Make one connection and wait for its SETTINGS; return what went wrong, or None."""
        assert self._tasks is not None
        try:
            if self.ways is not None:
                with anyio.fail_after(self._settings.connect_timeout):
                    ways = await self.ways()
            else:
                assert self._connector is not None
                ways = [("", self._connector)]
            self.way, connection = await self._dialer.dial(ways, self._slower, self._tasks, self._run)
        except NetworkError as error:
            return error
        except TimeoutError:
            return ConnectError(f"no address of {self._name} within {self._settings.connect_timeout:g} s")
        self._adopt(connection)
        return None

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
                self.rested = current.error is None and current.wire.goaway_received is None
                self.state = Connectivity.IDLE
                if self._waiting:
                    self.connect()
        elif self._waiting:
            self._serve_waiting()

    def close(self) -> None:
        """Refuse what waits, fail what is open, say GOAWAY; the connections end by themselves soon after."""
        self._stop()
        for connection in list(self._connections):
            connection.close("the channel was closed")

    def retire(self) -> None:
        """Take no more calls; the connection closes when those that are open have ended."""
        self._stop()
        for connection in list(self._connections):
            self._see_off(connection)

    def _stop(self) -> None:
        self.state = Connectivity.SHUTDOWN
        self._current = None
        self._refuse_waiting(NetworkError("the channel is closed"), everyone=True)
        if self._scope is not None:
            self._scope.cancel()

    def leave(self) -> None:
        """Make another connection when a call needs one; the current one finishes its calls."""
        current, self._current = self._current, None
        if current is not None:
            self._see_off(current)
            if self.state is Connectivity.READY:
                self.state = Connectivity.IDLE
                if self._waiting:
                    self.connect()

    def _see_off(self, connection: Connection) -> None:
        def look() -> None:
            if not connection.open_streams and connection.lives:
                connection.on_change = None
                connection.close("no more calls are sent to this address")

        connection.on_change = look
        look()

    async def wait_idle(self) -> None:
        """Wait until no connection is open or ending."""
        while self._connections:
            await next(iter(self._connections)).wait_closed()

    def __repr__(self) -> str:
        return f"<Subchannel {self._name} {self.state.value}, {self.streams} streams, {len(self._waiting)} waiting>"
