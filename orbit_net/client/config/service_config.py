"""The service config: what a channel does for each method, in Python or as gRPC's own JSON.

Source: gRPC *service_config.md*, ``grpc.service_config.ServiceConfig`` and gRFC A6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orbit_net.client.balance.settings import (
    LeastRequest,
    OutlierDetection,
    PickFirst,
    RingHash,
    RoundRobin,
    WeightedRoundRobin,
)
from orbit_net.errors import ConfigurationError
from orbit_net.status import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orbit_net.client.balance.settings import Balancing

__all__ = ["MAX_ATTEMPTS", "HedgingPolicy", "MethodConfig", "RetryPolicy", "RetryThrottling", "ServiceConfig"]

MAX_ATTEMPTS: Final = 5
"""How many attempts a call may have whatever a policy says (gRFC A6, "maxAttempts")."""

_BALANCERS: Final[Mapping[str, type[Balancing]]] = {
    "pick_first": PickFirst,
    "round_robin": RoundRobin,
    "weighted_round_robin": WeightedRoundRobin,
    "least_request_experimental": LeastRequest,
    "least_request": LeastRequest,
    "ring_hash_experimental": RingHash,
    "ring_hash": RingHash,
    "outlier_detection_experimental": OutlierDetection,
    "outlier_detection": OutlierDetection,
}
"""The policies by their names in gRPC's JSON, and by the names that remain when they are no experiment any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """When a call of a method is tried again, and how long after the failure. Backoffs in seconds.

    ``max_attempts`` counts the first attempt too: at least 2, and more than 5 are 5. The n-th retry waits for
    ``initial_backoff * backoff_multiplier ** (n - 1)``, at most ``max_backoff``, varied by ± 20 %. There are no
    defaults, as in gRFC A6: whether trying again is harmless is for the owner of the method to say.
    """

    max_attempts: int
    initial_backoff: float
    max_backoff: float
    backoff_multiplier: float
    retryable_status_codes: frozenset[Status]

    def __post_init__(self) -> None:
        if not _is_integer(self.max_attempts) or self.max_attempts < 2:
            raise _bad("RetryPolicy.max_attempts", self.max_attempts, "an integer of at least 2")
        for name in ("initial_backoff", "max_backoff", "backoff_multiplier"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < math.inf:
                raise _bad(f"RetryPolicy.{name}", value, "a number above 0")
        codes: frozenset[Any] = frozenset(self.retryable_status_codes)
        if not codes or not all(isinstance(code, Status) and code is not Status.OK for code in codes):
            raise _bad("RetryPolicy.retryable_status_codes", self.retryable_status_codes, "statuses other than OK")
        object.__setattr__(self, "retryable_status_codes", codes)

    @property
    def attempts(self) -> int:
        """How many attempts a call really has: ``max_attempts``, at most 5."""
        return min(self.max_attempts, MAX_ATTEMPTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgingPolicy:
    """When a call of a method is sent again although the attempts before it may still succeed.

    The next attempt is sent ``hedging_delay`` seconds after the one before it, or at once when one of them has failed
    with one of ``non_fatal_status_codes``; any other failure ends the call. The first answer wins and the other
    attempts are cancelled, which comes too late for some: only what may run more than once may be hedged. A delay of 0
    sends all of ``max_attempts`` together: at least 2, and more than 5 are 5.
    """

    max_attempts: int
    hedging_delay: float = 0.0
    non_fatal_status_codes: frozenset[Status] = frozenset()

    def __post_init__(self) -> None:
        if not _is_integer(self.max_attempts) or self.max_attempts < 2:
            raise _bad("HedgingPolicy.max_attempts", self.max_attempts, "an integer of at least 2")
        if not _is_number(self.hedging_delay) or not 0 <= self.hedging_delay < math.inf:
            raise _bad("HedgingPolicy.hedging_delay", self.hedging_delay, "seconds of at least 0")
        codes: frozenset[Any] = frozenset(self.non_fatal_status_codes)
        if not all(isinstance(code, Status) and code is not Status.OK for code in codes):
            raise _bad("HedgingPolicy.non_fatal_status_codes", self.non_fatal_status_codes, "statuses other than OK")
        object.__setattr__(self, "non_fatal_status_codes", codes)

    @property
    def attempts(self) -> int:
        """How many attempts a call really has at most: ``max_attempts``, at most 5."""
        return min(self.max_attempts, MAX_ATTEMPTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryThrottling:
    """The tokens of a channel: each retryable or non-fatal failure takes one, each success gives ``token_ratio`` back.

    Calls are tried again or hedged only while more than half of ``max_tokens`` (1 to 1,000) are left, so a server that
    is down is not asked many times over. Of ``token_ratio`` three decimals count.
    """

    max_tokens: int
    token_ratio: float

    def __post_init__(self) -> None:
        if not _is_integer(self.max_tokens) or not 0 < self.max_tokens <= 1_000:
            raise _bad("RetryThrottling.max_tokens", self.max_tokens, "an integer from 1 to 1000")
        if not _is_number(self.token_ratio) or not 0.001 <= self.token_ratio < math.inf:
            raise _bad("RetryThrottling.token_ratio", self.token_ratio, "a number of at least 0.001")


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodConfig:
    """What holds for some methods.

    ``names`` are ``"package.Service/Method"``, ``"package.Service"`` for all methods of a service that are not named
    themselves, or ``""`` for all the others. ``timeout`` in seconds: a call ends by the earlier of this and its own.
    ``wait_for_ready`` holds for calls that do not say it themselves. Message sizes in bytes: the smaller of these and
    the channel's limits counts. With neither ``retry`` nor ``hedging``, which exclude each other, a call is tried again
    only while the server cannot have seen it.
    """

    names: tuple[str, ...] = ("",)
    timeout: float | None = None
    wait_for_ready: bool | None = None
    max_request_message: int | None = None
    max_response_message: int | None = None
    retry: RetryPolicy | None = None
    hedging: HedgingPolicy | None = None

    def __post_init__(self) -> None:
        names: Any = self.names
        if isinstance(names, str):
            raise _bad("MethodConfig.names", names, "a tuple of names")
        object.__setattr__(self, "names", tuple(names))
        for name in names:
            if not isinstance(name, str) or name.startswith("/") or name.count("/") > 1 or name.endswith("/"):
                raise _bad("MethodConfig.names", name, "'package.Service/Method', 'package.Service' or ''")
        if self.timeout is not None and (not _is_number(self.timeout) or not 0 <= self.timeout < math.inf):
            raise _bad("MethodConfig.timeout", self.timeout, "seconds of at least 0, or None")
        for size in ("max_request_message", "max_response_message"):
            value = getattr(self, size)
            if value is not None and (not _is_integer(value) or value < 0):
                raise _bad(f"MethodConfig.{size}", value, "bytes of at least 0, or None")
        if self.retry is not None and self.hedging is not None:
            raise ConfigurationError("MethodConfig has both retry and hedging; a method may have one of them (gRFC A6)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """What a channel does for each method, and the tokens that all of them share.

    ``load_balancing`` keeps the names of the policies asked for; the first known one is used, with its defaults unless
    ``balancing`` says it in full. ``health_check`` is the service whose health each backend of a policy that has
    several is asked for, the empty name that of the whole server, None nobody's (gRFC A17).

    Example::

        ServiceConfig.from_json('{"methodConfig": [{"name": [{"service": "greeter.Greeter"}], "timeout": "1.5s"}]}')
    """

    methods: tuple[MethodConfig, ...] = ()
    throttling: RetryThrottling | None = None
    load_balancing: tuple[str, ...] = ()
    balancing: Balancing | None = None
    health_check: str | None = None
    _by_name: dict[str, MethodConfig] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", tuple(self.methods))
        object.__setattr__(self, "load_balancing", tuple(self.load_balancing))
        for config in self.methods:
            for name in config.names:
                if name in self._by_name:
                    raise ConfigurationError(f"ServiceConfig.methods: {name!r} is named twice; each name may be once")
                self._by_name[name] = config
        known = [name for name in self.load_balancing if name in _BALANCERS]
        if self.load_balancing and not known:
            allowed = f"at least one of {', '.join(_BALANCERS)}"
            raise _bad("ServiceConfig.load_balancing", list(self.load_balancing), allowed)
        if known and self.balancing is None:
            object.__setattr__(self, "balancing", _BALANCERS[known[0]]())
        health: Any = self.health_check
        if health is not None and not isinstance(health, str):
            raise _bad("ServiceConfig.health_check", health, "the name of a service, '' or None")

    @classmethod
    def from_json(cls, config: str | Mapping[str, Any]) -> ServiceConfig:
        """Return what gRPC's JSON says, as text or as the mapping that ``json.loads`` gives.

        Unknown keys are ignored, as gRPC does. Raises :class:`ConfigurationError` with the path and the value of what
        is wrong, and what is allowed there.
        """
        from orbit_net.client.config.service_json import read_service_config  # noqa: PLC0415 - it makes these classes

        return read_service_config(config)

    def method(self, path: str) -> MethodConfig | None:
        """Return what holds for ``/package.Service/Method``: its own name, else its service's, else the default."""
        name = path.removeprefix("/")
        by_name = self._by_name
        return by_name.get(name) or by_name.get(name.rpartition("/")[0]) or by_name.get("")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _bad(name: str, value: Any, allowed: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {value!r}; it must be {allowed}")
