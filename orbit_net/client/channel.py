"""A channel: the virtual connection to a target that calls are made on."""

from __future__ import annotations

import platform
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import anyio
from grpclib.events import _DispatchChannelEvents
from grpclib.metadata import Deadline

from orbit_net import __version__
from orbit_net.client import compat
from orbit_net.client.attempt import Attempt
from orbit_net.client.call import ClientStream
from orbit_net.client.connectivity import Connectivity
from orbit_net.client.hedged import HedgedAttempt
from orbit_net.client.method import configured
from orbit_net.client.outgoing import OutgoingCall
from orbit_net.client.retrying import Retrying
from orbit_net.client.service_config import ServiceConfig
from orbit_net.client.settings import ChannelSettings
from orbit_net.client.subchannel import Subchannel
from orbit_net.codec import Codec, content_type_of
from orbit_net.context import inherited_deadline
from orbit_net.errors import ConfigurationError, LocalProtocolError
from orbit_net.interceptor import compose
from orbit_net.net import ENVIRONMENT, Credentials, Timers, connect, parse_target, tls_for, tunnel_for
from orbit_net.wire import HeaderTemplate
from orbit_net.wire.compression import ENCODINGS, IDENTITY, accept_header
from orbit_net.wire.metadata import decode_metadata, encode_metadata

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from types import TracebackType

    from anyio.abc import ByteStream, TaskGroup
    from grpclib.const import Cardinality

    from orbit_net.client.attempt import Watcher
    from orbit_net.client.hedging import HedgeTally
    from orbit_net.client.method import Method
    from orbit_net.client.response import Outcome
    from orbit_net.client.service_config import RetryPolicy
    from orbit_net.client.tally import CallTally
    from orbit_net.codec import AnyCodec
    from orbit_net.interceptor import Interceptor
    from orbit_net.net import TlsConfig
    from orbit_net.wire.hpack import Field
    from orbit_net.wire.metadata import Metadata, MetadataLike

__all__ = ["Channel"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")

USER_AGENT: Final = (
    f"grpc-python-orbit-net/{__version__} ({platform.python_implementation().lower()} {platform.python_version()})"
)

_CLOSE_GRACE: Final = 2.0
"""Seconds that leaving the channel waits for the last frames to be read by the server."""
_REMEMBERED_METHODS: Final = 1_024


class Channel:
    """Calls to one target, over one connection that is made at the first call and made again when it is lost.

    ``target`` is ``host:port``, ``dns:///host:port``, ``ipv4:…``, ``ipv6:…``, ``unix:path``, ``unix-abstract:name`` or
    ``http://host:port``; a bad one raises :class:`ConfigurationError` here, before any I/O. ``tls`` or a target
    ``https://host:port`` encrypts; files that are not usable raise :class:`ConfigurationError` here. ``codec`` turns
    messages into bytes; ``service_config`` says for each method when to try again, how long to wait and how large
    messages may be, as a :class:`ServiceConfig` or as gRPC's JSON; ``interceptors`` stand around the opening of each
    call, the first one outermost (see :mod:`orbit_net.interceptor`); ``connector`` replaces the socket by any anyio
    byte stream; ``random`` varies the backoff.

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
    ) -> None:
        address = parse_target(target)
        tls = tls_for(target, tls)
        self.target = target
        self.codec: AnyCodec = Codec() if codec is None else codec
        self.settings = settings or ChannelSettings()
        self.timers = Timers()
        self.tls = None if tls is None else Credentials(tls, server=False)
        """What is presented and trusted; ``tls.reload()`` reads the files at once. None in plain text."""
        if connector is None:
            limit, probes = self.settings.connect_timeout, self.settings.keepalive.tcp_time
            connector = tunnel_for(target, proxy, timeout=limit, tcp_keepalive=probes)
            connector = connector or partial(connect, address, tcp_keepalive=probes)
        random = random or Random()
        if service_config is None:
            service_config = ServiceConfig()
        elif not isinstance(service_config, ServiceConfig):
            service_config = ServiceConfig.from_json(service_config)
        self.service_config: ServiceConfig = service_config
        self.retrying = Retrying(self.settings.retry, service_config, self.timers, random)
        self.subchannel = Subchannel(
            connector if self.tls is None else partial(self.tls.connect, connector, address.server_name, target),
            name=target,
            settings=self.settings,
            random=random,
        )
        self.tally: CallTally | None = None
        """What counts the calls; None unless somebody wants to know (:mod:`orbit_net.channelz`)."""
        self.chain = compose(interceptors, OutgoingCall.send)
        """What each call goes through before its headers are sent; None without interceptors."""
        self.__dispatch__ = _DispatchChannelEvents()
        self.listeners = self.__dispatch__._listeners  # noqa: SLF001 - grpclib.events has no public question for it
        """False unless ``grpclib.events.listen`` was used on this channel. Not a property: asked for each message."""
        self._status_details_codec = status_details_codec
        server_name = None if tls is None else tls.server_name
        self._authority = (self.settings.authority or server_name or address.authority).encode()
        self._scheme = b"http" if tls is None else b"https"
        self._content_type = content_type_of(self.codec)
        self._user_agent = (self.settings.user_agent or USER_AGENT).encode()
        self._compression = self.settings.compression
        self._accept_encoding = accept_header(self.settings.accept_compression)
        self._methods: dict[str | tuple[str, str | None], Method] = {}
        self._tasks: TaskGroup | None = None
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
        self.subchannel.start(tasks)

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
                await self.subchannel.wait_idle()
        finally:
            self._tasks.cancel_scope.cancel()
            # The block's own exception is not shown to the group: it would come back inside an ExceptionGroup.
            await self._tasks.__aexit__(None, None, None)

    def close(self) -> None:
        """Say goodbye to the server and refuse further calls. Does not wait; leaving the block does."""
        self.subchannel.close()
        self.retrying.close()

    @property
    def state(self) -> Connectivity:
        """Whether there is a connection, as gRPC's connectivity states."""
        return self.subchannel.state

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
    ) -> ClientStream[Request, Reply]:
        """Return a call of the method ``name`` (``/package.Service/Method``), to be entered with ``async with``.

        The call ends by the earliest of ``timeout`` (seconds from now), ``deadline``, and the deadline of the call that
        is being handled by this task, unless :func:`~orbit_net.client.detached`, and of the service config's timeout.
        ``metadata`` is validated here: :class:`LocalProtocolError` for a pair that cannot be sent. ``wait_for_ready``:
        a failing connection makes the call wait instead of fail; None leaves it to the service config. ``retry`` False
        takes no notice of its retry or hedging policy, and a :class:`RetryPolicy` replaces either for this call.
        ``compression`` ("gzip", "deflate", or "identity" for none) replaces the channel's. ``watcher`` is told of the
        call's beginning and end.
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
            self.subchannel,
            self.timers,
            self.retrying,
            method,
            deadline=until,
            fields=encode_metadata(metadata) if metadata else (),
            wait_for_ready=method.wait_for_ready if wait_for_ready is None else wait_for_ready,
            retry=self._retry_of(method, retry),
            watcher=watcher,
        )
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

    # --- events in the shape of grpclib's --------------------------------------------------------

    async def dispatch_request(self, path: str, fields: Sequence[Field], until: float | None) -> Sequence[Field]:
        """Show a request to the listeners, who may change its metadata."""
        deadline = None if until is None else Deadline.from_timeout(until - anyio.current_time())
        (metadata,) = await self.__dispatch__.send_request(
            decode_metadata(fields),
            method_name=path,
            deadline=deadline,
            content_type=self._content_type.decode(),
        )
        return encode_metadata(metadata)

    async def dispatch_message(self, message: Any) -> Any:
        """Show a message that is being sent to the listeners, who may replace it."""
        (message,) = await self.__dispatch__.send_message(message)
        return message

    async def dispatch_reply(self, message: Any) -> Any:
        """Show a received message to the listeners, who may replace it."""
        (message,) = await self.__dispatch__.recv_message(message)
        return message

    async def dispatch_initial_metadata(self, metadata: Metadata) -> Metadata:
        """Show the metadata of response headers to the listeners, who may change it."""
        (metadata,) = await self.__dispatch__.recv_initial_metadata(metadata)
        return metadata

    async def dispatch_trailing_metadata(self, metadata: Metadata, outcome: Outcome) -> Metadata:
        """Show the metadata of trailers, and the outcome, to the listeners, who may change the metadata."""
        (metadata,) = await self.__dispatch__.recv_trailing_metadata(
            metadata,
            status=outcome.status,
            status_message=outcome.message,
            status_details=self.decode_details(outcome),
        )
        return metadata

    def decode_details(self, outcome: Outcome) -> Any:
        """Return the status details: bytes, or what the status details codec makes of them."""
        if outcome.details is None or self._status_details_codec is None:
            return outcome.details
        return self._status_details_codec.decode(outcome.status, outcome.message, outcome.details)

    def __repr__(self) -> str:
        return f"<Channel {self.target!r} {self.subchannel!r}>"


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
