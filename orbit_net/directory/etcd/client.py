"""A client of etcd: several endpoints, one of them in use; logging in; every question bounded in time."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import anyio

from orbit_net.client import Channel
from orbit_net.directory.etcd.settings import EtcdSettings
from orbit_net.errors import ConfigurationError, ConnectionLost, LeaseExpired, OrbitError, OrbitTimeout, RpcError
from orbit_net.proto.etcdserverpb import (
    AuthenticateRequest,
    LeaseGrantRequest,
    LeaseKeepAliveRequest,
    LeaseRevokeRequest,
    RangeRequest,
    TxnRequest,
    WatchCreateRequest,
    WatchProgressRequest,
    WatchRequest,
)
from orbit_net.proto.etcdserverpb.services import AuthStub, KvStub, LeaseStub, WatchStub
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from orbit_net.client import ClientStream
    from orbit_net.net import TlsConfig
    from orbit_net.proto.etcdserverpb import RangeResponse, TxnResponse, WatchResponse

__all__ = ["EtcdClient", "end_of"]

Answer = TypeVar("Answer")

_log = logging.getLogger("orbit_net.directory")

_LOGGED_OUT: Final = ("invalid auth token", "user name is empty", "auth token is not provided")
"""What etcd says, under two different statuses, when a token is missing, unknown or has run out."""


def end_of(prefix: bytes) -> bytes:
    """Return the end of the range of all keys that begin with ``prefix``, which is not empty."""
    for index in range(len(prefix) - 1, -1, -1):
        if prefix[index] < 0xFF:
            return prefix[:index] + bytes([prefix[index] + 1])
    return b"\0"


class EtcdClient:
    """Asks whichever of ``endpoints`` answers, and stays with it until it does not.

    Every question may reach etcd twice, when its answer was lost: ask only what may. Raises :class:`RpcError` for what
    etcd refuses, :class:`OrbitTimeout` when no endpoint answered in time; both leave the client usable.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        user: str | None = None,
        password: str | None = None,
        tls: TlsConfig | None = None,
        settings: EtcdSettings | None = None,
    ) -> None:
        if not endpoints:
            raise ConfigurationError("etcd needs at least one endpoint")
        if (user is None) != (password is None):
            raise ConfigurationError("etcd takes a user and a password together, or neither")
        self.settings = settings or EtcdSettings()
        self._channels = [Channel(target, settings=self.settings.channel, tls=tls) for target in endpoints]
        self._user = user
        self._password = password
        self._token: str | None = None
        self._current = 0
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            for channel in self._channels:
                await stack.enter_async_context(channel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(None, None, None)

    # --- questions -------------------------------------------------------------------------------

    async def range(self, key: bytes, range_end: bytes = b"") -> RangeResponse:
        """Read one key, or all up to ``range_end``, as of now."""
        request = RangeRequest(key=key, range_end=range_end)
        return await self.ask(lambda channel, options: KvStub(channel).range(request, **options))

    async def transact(self, request: TxnRequest) -> TxnResponse:
        """Compare and act in one step."""
        return await self.ask(lambda channel, options: KvStub(channel).txn(request, **options))

    async def grant(self, seconds: int) -> int:
        """Make a lease and return its number."""
        request = LeaseGrantRequest(ttl=seconds)
        return (await self.ask(lambda channel, options: LeaseStub(channel).lease_grant(request, **options))).id

    async def revoke(self, lease: int) -> None:
        """End a lease with its keys; one that is gone already is no error."""
        request = LeaseRevokeRequest(id=lease)
        try:
            await self.ask(lambda channel, options: LeaseStub(channel).lease_revoke(request, **options))
        except RpcError as error:
            if error.status is not Status.NOT_FOUND:
                raise

    async def keep_alive(self, lease: int, *, timeout: float) -> None:
        """Prolong a lease to its whole time. Raises :class:`LeaseExpired` when there is none any more."""

        async def once(channel: Channel, options: dict[str, Any]) -> int:
            async with LeaseStub(channel).lease_keep_alive(**options) as stream:
                await stream.send_message(LeaseKeepAliveRequest(id=lease))
                answer = await stream.recv_message()
                if answer is None:
                    raise ConnectionLost("etcd has ended the stream")
                return answer.ttl

        if await self.ask(once, timeout=timeout) <= 0:
            raise LeaseExpired(f"etcd has no lease {lease:x} any more")

    async def watch(
        self, prefix: bytes, revision: int, see: Callable[[WatchResponse], None], *, silence: float
    ) -> OrbitError:
        """Have ``see`` called with the news of all keys under ``prefix`` from ``revision`` on; return why it ended.

        An endpoint that says nothing for ``silence`` seconds, though it is asked for its progress, is given up. The
        next call goes to the next endpoint.
        """
        channel = self._channels[self._current]
        try:
            options = await self._options(channel)
            options.pop("timeout")
            # Without this, a member that has lost the others would keep the watch open and silent.
            options["metadata"]["hasleader"] = "true"
            async with WatchStub(channel).watch(**options) as stream:
                create = WatchCreateRequest(key=prefix, range_end=end_of(prefix), start_revision=revision)
                await stream.send_message(WatchRequest(create_request=create))
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_ask_for_progress, stream, silence / 3)
                    reason = await _hear(stream, see, silence)
                    tasks.cancel_scope.cancel()
        except OrbitError as error:
            reason = error
        self._failed(channel, reason)
        return reason

    # --- endpoints -------------------------------------------------------------------------------

    async def ask(
        self, question: Callable[[Channel, dict[str, Any]], Awaitable[Answer]], *, timeout: float | None = None
    ) -> Answer:
        """Put a question to one endpoint after the other until one answers or ``timeout`` (the settings') is over."""
        until = anyio.current_time() + (self.settings.timeout if timeout is None else timeout)
        last: OrbitError | None = None
        tries = 0
        while True:
            left = until - anyio.current_time()
            if left <= 0:
                raise OrbitTimeout(f"no endpoint of etcd answered in time; the last reason: {last}") from last
            channel = self._channels[self._current]
            try:
                options = await self._options(channel)
                options["timeout"] = min(left, self.settings.try_timeout)
                return await question(channel, options)
            except RpcError as error:
                if self._token is not None and any(text in (error.message or "") for text in _LOGGED_OUT):
                    self._token = None
                elif not error.retryable:
                    raise
                last = error
            except OrbitError as error:
                if not error.retryable:
                    raise
                last = error
            self._failed(channel, last)
            tries += 1
            if tries % len(self._channels) == 0:
                await anyio.sleep(min(self.settings.pause, max(0.0, until - anyio.current_time())))

    def _failed(self, channel: Channel, reason: OrbitError) -> None:
        """Turn to the next endpoint, unless another task has done so."""
        if channel is self._channels[self._current]:
            _log.debug("etcd at %s: %s", channel.target, reason)
            self._current = (self._current + 1) % len(self._channels)

    async def _options(self, channel: Channel) -> dict[str, Any]:
        options: dict[str, Any] = {"timeout": self.settings.try_timeout, "metadata": {}}
        if self._user is not None:
            if self._token is None:
                request = AuthenticateRequest(name=self._user, password=self._password or "")
                self._token = (await AuthStub(channel).authenticate(request, **options)).token
            options["metadata"]["token"] = self._token
        return options

    def __repr__(self) -> str:
        return f"<EtcdClient at {self._channels[self._current].target}, {len(self._channels)} endpoints>"


async def _ask_for_progress(stream: ClientStream[WatchRequest, WatchResponse], interval: float) -> None:
    try:
        while True:
            await anyio.sleep(interval)
            await stream.send_message(WatchRequest(progress_request=WatchProgressRequest()))
    except OrbitError:
        return  # the receiving side sees the same end, and why


async def _hear(
    stream: ClientStream[WatchRequest, WatchResponse], see: Callable[[WatchResponse], None], silence: float
) -> OrbitError:
    try:
        while True:
            with anyio.move_on_after(silence):
                news = await stream.recv_message()
                if news is None:
                    return ConnectionLost("etcd has ended the watch")
                if news.canceled:
                    return ConnectionLost(f"etcd has closed the watch: {news.cancel_reason or 'compacted'}")
                see(news)
                continue
            return OrbitTimeout(f"etcd was silent for {silence:g} s")
    except OrbitError as error:
        return error
