"""From an address to a connection whose server has said what it can; several addresses are raced."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import anyio

from orbit_net.client.balance.race import Race
from orbit_net.errors import ConnectError, NetworkError, OrbitError
from orbit_net.net import Connection, is_cancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from typing import Any

    from anyio.abc import ByteStream, TaskGroup

    from orbit_net.client.settings import ChannelSettings

__all__ = ["Connector", "Dialer", "Farewell", "Way"]

Connector: TypeAlias = "Callable[[], Awaitable[ByteStream]]"
"""Opens the byte stream of a connection."""

Way: TypeAlias = "tuple[str, Connector]"
"""One address: its name, and how to connect to it."""


class Farewell(ConnectError):
    """The connection ended in good order before it was used: by the server, or by its own idle timeout."""


class Dialer:
    """Makes connections to one endpoint, which texts call ``name``."""

    __slots__ = ("_delay", "_name", "_settings")

    def __init__(self, name: str, settings: ChannelSettings, attempt_delay: float) -> None:
        self._name = name
        self._settings = settings
        self._delay = attempt_delay

    async def dial(
        self,
        ways: Sequence[Way],
        slower: int,
        tasks: TaskGroup,
        run: Callable[[Connection], Coroutine[Any, Any, None]],
    ) -> tuple[str, Connection]:
        """Return the first connection whose SETTINGS have arrived, and the way that it took.

        Connections run in ``tasks`` by ``run``, and ping ``slower`` times as seldom. Raises :class:`NetworkError` when
        all ways have failed, each within ``connect_timeout`` seconds. Cancellation, and a race that is over, close what
        was opened.
        """
        if len(ways) == 1:
            [(way, connector)] = ways
            return way, await self._open(connector, slower, tasks, run)
        return await self._race(ways, slower, tasks, run)

    async def _race(
        self,
        ways: Sequence[Way],
        slower: int,
        tasks: TaskGroup,
        run: Callable[[Connection], Coroutine[Any, Any, None]],
    ) -> tuple[str, Connection]:
        race, changed = Race(len(ways), self._delay), anyio.Event()
        won: list[tuple[str, Connection]] = []
        errors: list[NetworkError] = []

        async def attempt(way: str, connector: Connector) -> None:
            try:
                connection = await self._open(connector, slower, tasks, run)
            except NetworkError as error:
                errors.append(error)
                race.failed(anyio.current_time())
            else:
                if won:
                    connection.close("another address was faster")
                won.append((way, connection))
            changed.set()

        async with anyio.create_task_group() as attempts:
            while not (won or race.lost):
                number = race.due(anyio.current_time())
                if number is not None:
                    attempts.start_soon(attempt, *ways[number])
                    continue
                changed = anyio.Event()
                with anyio.CancelScope(deadline=race.next_at):
                    await changed.wait()
            attempts.cancel_scope.cancel()
        if won:
            return won[0]
        if not errors:
            raise ConnectError(f"no connection to {self._name}: it has no address")
        # A server that is going away says more than another address that does not answer.
        raise next((error for error in errors if isinstance(error, Farewell)), errors[-1])

    async def _open(
        self,
        connector: Connector,
        slower: int,
        tasks: TaskGroup,
        run: Callable[[Connection], Coroutine[Any, Any, None]],
    ) -> Connection:
        """Make one connection and wait for its SETTINGS; raises :class:`NetworkError`."""
        connection: Connection | None = None
        changed = anyio.Event()
        settings = self._settings
        try:
            with anyio.fail_after(settings.connect_timeout):
                transport = await connector()
                connection = Connection(
                    transport,
                    client=True,
                    settings=settings.wire(),
                    upkeep=settings.upkeep(slower=slower),
                    on_change=changed.set,
                )
                tasks.start_soon(run, connection)
                while not connection.ready:
                    if not connection.usable:
                        raise self._why(connection)
                    await changed.wait()
                    changed = anyio.Event()
                    connection.on_change = changed.set
                return connection
        except NetworkError:
            raise
        except TimeoutError:
            if connection is not None:
                connection.close("the server sent no SETTINGS in time")
            raise ConnectError(f"no HTTP/2 connection to {self._name} within {settings.connect_timeout:g} s") from None
        except OrbitError as error:
            raise ConnectError(f"cannot connect to {self._name}: {error}") from error
        except Exception as error:
            raise ConnectError(f"cannot connect to {self._name}: {error!r}") from error
        except anyio.get_cancelled_exc_class() as error:
            if connection is not None:
                connection.close("the attempt was given up")
            if is_cancelled():
                raise
            raise ConnectError(f"cannot connect to {self._name}: {error!r}") from error

    def _why(self, connection: Connection) -> ConnectError:
        if connection.error is None:
            goodbye = connection.wire.goaway_received is not None
            reason = "the server is going away" if goodbye else "the connection was closed"
            return Farewell(f"no gRPC connection to {self._name}: {reason}")
        return ConnectError(f"no gRPC connection to {self._name}: {connection.error}")
