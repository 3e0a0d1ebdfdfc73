"""A channel: the virtual connection to a target that calls are made on."""

from __future__ import annotations

import platform
from copy import copy
from random import Random
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import anyio

from orbit_net import __version__
from orbit_net.client import compat
from orbit_net.client.attempt import Attempt
from orbit_net.client.balance.settings import PickFirst, Plan
from orbit_net.client.call import ClientStream
from orbit_net.client.config.method import configured
from orbit_net.client.config.service_config import ServiceConfig
from orbit_net.client.connectivity import Changes, Connectivity
from orbit_net.client.dispatching import Dispatching
from orbit_net.client.lines import chosen_resolver, line_of
from orbit_net.client.outgoing import OutgoingCall
from orbit_net.client.retry.hedged import HedgedAttempt
from orbit_net.client.retry.retrying import Retrying
from orbit_net.client.settings import ChannelSettings
from orbit_net.codec import Codec, content_type_of
from orbit_net.context import inherited_deadline
from orbit_net.errors import ConfigurationError, LocalProtocolError
from orbit_net.interceptor import compose
from orbit_net.net import ENVIRONMENT, Credentials, Timers, tls_for
from orbit_net.wire import HeaderTemplate
from orbit_net.wire.compression import ENCODINGS, IDENTITY, accept_header
from orbit_net.wire.metadata import encode_metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from types import TracebackType

    from anyio.abc import ByteStream, TaskGroup
    from grpclib.const import Cardinality
    from grpclib.metadata import Deadline

    from orbit_net.client.attempt import Watcher
    from orbit_net.client.balance.settings import Balancing
    from orbit_net.client.balance.subchannel_pool import SubchannelPool
    from orbit_net.client.config.method import Method
    from orbit_net.client.config.service_config import RetryPolicy
    from orbit_net.client.line import Line
    from orbit_net.client.resolve import Resolver, ResolveSettings
    from orbit_net.client.retry.hedging import HedgeTally
    from orbit_net.client.subchannel import Subchannel
    from orbit_net.client.tally import CallTally
    from orbit_net.codec import AnyCodec
    from orbit_net.interceptor import Interceptor
    from orbit_net.net import Address, TlsConfig
    from orbit_net.wire.metadata import MetadataLike

__all__ = ["Channel"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")

USER_AGENT: Final = (
    f"grpc-python-orbit-net/{__version__} ({platform.python_implementation().lower()} {platform.python_version()})"
)

_CLOSE_GRACE: Final = 2.0
"""Seconds that leaving the channel waits for the last frames to be read by the server."""
_REMEMBERED_METHODS: Final = 1_024


class Channel(Dispatching):
    """Calls to one target, over connections that are made at the first call and made again when they are lost.

    ``target`` is ``host:port``, ``dns:///host:port``, ``ipv4:a:p,b:p``, ``ipv6:[a]:p``, ``unix:path``,
    ``unix-abstract:name``, ``static:a:p,b:p;weight=2``, ``http://host:port`` or of a scheme that was registered; a bad
    one raises :class:`ConfigurationError` here, before any I/O. ``resolver`` finds the addresses instead, ``resolve``
    says how often. ``balancing`` chooses among them, whatever the service config says; by default all calls go to the
    first that answers. ``dial`` opens the byte stream to an address, ``connector`` to the one place there is; both may
    be any byte stream of anyio. ``subchannels`` shares connections with other channels.

    ``tls`` or a target ``https://host:port`` encrypts; files that are not usable raise :class:`ConfigurationError`
    here. ``codec`` turns messages into bytes; ``service_config`` says for each method when to try again, how long to
    wait and how large messages may be, as a :class:`ServiceConfig` or as gRPC's JSON; ``interceptors`` stand around the
    opening of each call, the first one outermost (see :mod:`orbit_net.interceptor`); ``random`` is the chance.

    ``proxy`` is ``http://[user:password@]host[:port]`` to connect by a tunnel through that proxy (HTTP CONNECT), or
    None for none. Without it the environment decides, as everywhere in gRPC: ``grpc_proxy``, ``https_proxy`` and
    ``no_proxy`` for targets that name a host, but never for this one (localhost, loopback addresses, Unix sockets).

    Making one needs no event loop; using it needs ``async with``, which owns the channel's tasks. Leaving the block
    closes the connection: open calls fail with UNAVAILABLE.

    Example::

        async with Channel("localhost:50051") as channel:
            reply = await GreeterStub(channel).say(Hello(name="Ada"), timeout=1.0)
    """

    def __init__(
        self,
        target: str,
        *,
        codec: AnyCodec | None = None,
        status_details_codec: Any = None,
        settings: ChannelSettings | None = None,
        tls: TlsConfig | None = None,
        service_config: ServiceConfig | str | Mapping[str, Any] | None = None,
        interceptors: Sequence[Interceptor[OutgoingCall]] = (),
        proxy: str | None = ENVIRONMENT,
        connector: Callable[[], Awaitable[ByteStream]] | None = None,
        random: Random | None = None,
        resolver: Resolver | None = None,
        resolve: ResolveSettings | None = None,
        balancing: Balancing | None = None,
        dial: Callable[[Address], Awaitable[ByteStream]] | None = None,
        subchannels: SubchannelPool | None = None,
    ) -> None:
        super().__init__(status_details_codec)
        resolver = chosen_resolver(target, resolver, connector, dial, proxy)
        tls = tls_for(target, tls)
        self.target = target
        self.codec: AnyCodec = Codec() if codec is None else codec
        self.settings = settings or ChannelSettings()
        self.timers = Timers()
        credentials = Credentials.for_client if subchannels is None else subchannels.credentials
        self.tls = None if tls is None else credentials(tls)
        """What is presented and trusted; ``tls.reload()`` reads the files at once. None in plain text."""
        random = random or Random()
        if service_config is None:
            service_config = ServiceConfig()
        elif not isinstance(service_config, ServiceConfig):
            service_config = ServiceConfig.from_json(service_config)
        self.service_config: ServiceConfig = service_config
        self.retrying = Retrying(self.settings.retry, service_config, self.timers, random)
        self._own_config = service_config
        self._balancing = balancing
        self._changes = Changes(lambda: self.state)
        self.tally: CallTally | None = None
        """What counts the calls; None unless somebody wants to know (:mod:`orbit_net.channelz`)."""
        self.chain = compose(interceptors, OutgoingCall.send)
        """What each call goes through before its headers are sent; None without interceptors."""
        server_name = None if tls is None else tls.server_name
        self._authority = (self.settings.authority or server_name or resolver.authority).encode()
        self._scheme = b"http" if tls is None else b"https"
        self._content_type = content_type_of(self.codec)
        self._user_agent = (self.settings.user_agent or USER_AGENT).encode()
        self._compression = self.settings.compression
        self._accept_encoding = accept_header(self.settings.accept_compression)
        self._methods: dict[str | tuple[str, str | None], Method] = {}
        self._tasks: TaskGroup | None = None
        self.line: Line = line_of(
            self,
            resolver,
            connector=connector,
            dial=dial,
            proxy=proxy,
            resolve=resolve,
            pool=subchannels,
            random=random,
        )
        """What calls are handed to: one subchannel, or a balancer."""
        compat.install()

    # --- life ------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self.state is Connectivity.SHUTDOWN:
            raise ConfigurationError("a channel can be entered once; make a new one")
        compat.install()
        tasks = anyio.create_task_group()
        await tasks.__aenter__()
        tasks.start_soon(self.run)
        self.attach(tasks)
        return self

    def attach(self, tasks: TaskGroup) -> None:
        """Use the task group of an owner, who calls :meth:`run` and :meth:`close`, instead of ``async with``."""
        self._tasks = tasks
        self.line.start(tasks)

    async def run(self) -> None:
        """Watch the time and the files of certificates, until cancelled."""
        if self.tls is None:
            await self.timers.run()
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.timers.run)
                tasks.start_soon(self.tls.watch)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self.close()
        try:
            with anyio.move_on_after(_CLOSE_GRACE):
                await self.line.wait_idle()
        finally:
            self._tasks.cancel_scope.cancel()
            # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)

    def close(self) -> None:
        """Say goodbye to the server and refuse further calls. Does not wait; leaving the block does."""
        self.line.close()
        self.retrying.close()

    @property
    def state(self) -> Connectivity:
        """Whether there is a connection, as gRPC's connectivity states."""
        return self.line.state

    @property
    def subchannel(self) -> Subchannel:
        """The first of the subchannels, which is the only one unless the channel balances; IndexError without any."""
        return self.line.subchannels[0]

    async def wait_for_state_change(self, last: Connectivity) -> Connectivity:
        """Return the state as soon as it is not ``last``. Cancellation: nothing is lost."""
        return await self._changes.wait(last)

    def states(self) -> AsyncIterator[Connectivity]:
        """Yield the state now and after each change, up to SHUTDOWN; what came and went unseen is left out."""
        return self._changes.watch()

    def connect(self) -> None:
        """Begin to connect now instead of at the first call. Does not wait."""
        self.line.connect()

    # --- called by the line ----------------------------------------------------------------------

    def line_changed(self, _: Line) -> None:
        """Take notice of another state."""
        self._changes.tell()

    def planned(self, config: ServiceConfig | None) -> Plan:
        """Take the service config of the resolver, or None for the channel's own; return what it says of balancing."""
        config = self._own_config if config is None else config
        if config is not self.service_config:
            self.service_config = config
            self.retrying.configure(config)
            self._methods.clear()
        return Plan(balancing=self._balancing or config.balancing or PickFirst(), health_check=config.health_check)

    def aside(self, line: Line) -> Channel:
        """Return a view of the channel for the library's own calls on ``line``: protobuf, and no interceptors."""
        view = copy(self)
        view.line, view.codec, view.chain, view.listeners = line, Codec(), None, {}
        view.service_config, view._methods = ServiceConfig(), {}  # noqa: SLF001 - of the same class
        view._content_type = content_type_of(view.codec)  # noqa: SLF001
        return view

    @property
    def hedging(self) -> HedgeTally:
        """What has become of the hedges of all calls so far."""
        return self.retrying.hedging

    @property
    def secure(self) -> bool:
        """Whether what is sent is encrypted (TLS)."""
        return self.tls is not None

    # --- calls -----------------------------------------------------------------------------------

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[Request],
        reply_type: type[Reply],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: MetadataLike | None = None,
        wait_for_ready: bool | None = None,
        retry: bool | RetryPolicy = True,
        watcher: Watcher | None = None,
        compression: str | None = None,
        hash_key: str | bytes | None = None,
    ) -> ClientStream[Request, Reply]:
        """Return a call of the method ``name`` (``/package.Service/Method``), to be entered with ``async with``.

        The call ends by the earliest of ``timeout`` (seconds from now), ``deadline``, and the deadline of the call that
        is being handled by this task, unless :func:`~orbit_net.client.detached`, and of the service config's timeout.
        ``metadata`` is validated here: :class:`LocalProtocolError` for a pair that cannot be sent. ``wait_for_ready``:
        a failing connection makes the call wait instead of fail; None leaves it to the service config. ``retry`` False
        takes no notice of its retry or hedging policy, and a :class:`RetryPolicy` replaces either for this call.
        ``compression`` ("gzip", "deflate", or "identity" for none) replaces the channel's. ``watcher`` is told of the
        call's beginning and end. Calls of one ``hash_key`` go to one server, if the policy is ``RingHash``.
        """
        until = inherited_deadline.get()
        if timeout is not None or deadline is not None:
            until = _earliest(until, timeout, deadline)
        if compression is None:
            method = self._methods.get(name) or self._method(name, self._compression)
        else:
            method = self._method(name, _chosen(compression))
        if method.timeout is not None:
            until = _earliest(until, method.timeout, None)
        if self.tally is not None:
            watcher = self.tally.watch(watcher)
        kind = Attempt if method.hedging is None or retry is not True else HedgedAttempt
        attempt = kind(
            self.line,
            self.timers,
            self.retrying,
            method,
            deadline=until,
            fields=encode_metadata(metadata) if metadata else (),
            wait_for_ready=method.wait_for_ready if wait_for_ready is None else wait_for_ready,
            retry=self._retry_of(method, retry),
            watcher=watcher,
        )
        if hash_key is not None:
            attempt.hash_key = hash_key.encode() if isinstance(hash_key, str) else hash_key
        return ClientStream(self, method, attempt, cardinality, request_type, reply_type)

    def _retry_of(self, method: Method, retry: bool | RetryPolicy) -> RetryPolicy | None:
        if isinstance(retry, bool):
            return method.retry if retry else None
        return retry if self.settings.retry.enabled else None

    def _method(self, path: str, compression: str | None) -> Method:
        # A call that compresses as the channel does is found by its path alone, the others by both.
        key = path if compression == self._compression else (path, compression)
        method = self._methods.get(key)
        if method is not None:
            return method
        if not (path.startswith("/") and path.isascii() and path.isprintable() and " " not in path):
            raise LocalProtocolError(f"the method {path!r} is not of the form /package.Service/Method")
        if len(self._methods) >= _REMEMBERED_METHODS:
            self._methods.clear()
        template = HeaderTemplate(
            [
                (b":method", b"POST"),
                (b":scheme", self._scheme),
                (b":path", path.encode()),
                (b":authority", self._authority),
                (b"te", b"trailers"),
                (b"content-type", self._content_type),
                *([] if compression is None else [(b"grpc-encoding", compression.encode())]),
                (b"grpc-accept-encoding", self._accept_encoding),
                (b"user-agent", self._user_agent),
            ]
        )
        config = self.service_config.method(path)
        method = self._methods[key] = configured(path, template, config, self.settings, compression)
        return method

    def start_soon(self, task: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a task that belongs to a call for as long as the channel lives; it must not raise."""
        if self._tasks is None:
            raise ConfigurationError("the channel is not open: use it inside 'async with Channel(...) as channel'")
        self._tasks.start_soon(task)

    def __repr__(self) -> str:
        return f"<Channel {self.target!r} {self.line!r}>"


def _chosen(compression: str) -> str | None:
    """Return the encoding that a call asks for; raises :class:`LocalProtocolError` for one that is not known."""
    if compression == IDENTITY:
        return None
    if compression not in ENCODINGS:
        known = ", ".join(map(repr, (*ENCODINGS, IDENTITY)))
        raise LocalProtocolError(f"the compression {compression!r} is not known; use one of {known}")
    return compression


def _earliest(until: float | None, timeout: float | None, deadline: Deadline | None) -> float:
    now = anyio.current_time()
    candidates = [] if until is None else [until]
    if timeout is not None:
        candidates.append(now + timeout)
    if deadline is not None:
        candidates.append(now + deadline.time_remaining())
    return min(candidates)
